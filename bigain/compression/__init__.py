"""Attach compression methods to diffusers models."""
