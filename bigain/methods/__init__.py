"""Compression methods as data. No torch."""
