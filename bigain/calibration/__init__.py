"""Calibrate structural methods on training images: DiP-GO searches its gates, MosaicDiff its sub-networks."""
