"""Calibrate the structural methods on training images: DiP-GO's gates, MosaicDiff's subnets."""
