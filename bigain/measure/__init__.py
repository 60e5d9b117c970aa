"""Measure operations, seconds, image features, frequency bands, margins and token maps of models."""
