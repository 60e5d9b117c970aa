"""Bootstrap resamples of images, as weights of each image."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import stats

RESAMPLES = 1000
CONFIDENCE = 0.95
FEWEST = 5  # images: resamples of fewer hardly differ


@lru_cache(maxsize=1)  # all methods of a probe share them
def weights_of_images(images: int, seed: int) -> np.ndarray:
    """Return the weights [R, n] of n images in R resamples, read-only; those of a resample add up to 1."""
    weights = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=RESAMPLES) / images
    weights.flags.writeable = False
    return weights


def interval(resampled: np.ndarray, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Return 95% intervals of statistics from their resamples of n images: [R, ...] -> [...].

    Levels are Phi(+-sqrt(n / (n - 1)) t) with t of n - 1 degrees of freedom instead of 2.5 and 97.5%: few images
    resample too narrowly, by sqrt((n - 1) / n), and as if their standard error were known. NaN below `FEWEST` images.
    """
    if images < FEWEST:
        unknown = np.full(resampled.shape[1:], np.nan)
        return unknown, unknown
    level = stats.norm.cdf(np.sqrt(images / (images - 1)) * stats.t.ppf((1 - CONFIDENCE) / 2, images - 1))
    low, high = np.quantile(resampled, [level, 1 - level], axis=0)
    return low, high
