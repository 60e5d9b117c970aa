"""Bootstrap resamples of images, as weights of each image."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

RESAMPLES = 1000


@lru_cache(maxsize=1)  # all methods of a probe share them
def weights_of_images(images: int, seed: int) -> np.ndarray:
    """Return the weights [R, n] of n images in R resamples, read-only; those of a resample add up to 1."""
    weights = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=RESAMPLES) / images
    weights.flags.writeable = False
    return weights
