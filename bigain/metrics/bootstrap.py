"""Bootstrap resamples of images, as weights of each image."""

from __future__ import annotations

import numpy as np

RESAMPLES = 1000


def weights_of_images(images: int, seed: int) -> np.ndarray:
    """Return the weights [R, n] of n images in R resamples; those of a resample add up to 1."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=RESAMPLES) / images
