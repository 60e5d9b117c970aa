"""Generate images with the backbones' samplers."""
