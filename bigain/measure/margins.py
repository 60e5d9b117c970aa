"""The hardest wrong class of an image, by cross-fitting: chosen on other timesteps than those it is compared on."""

from __future__ import annotations

import numpy as np


def hardest_wrong(errors: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the wrong class to compare with at every timestep: errors [n, T, C], classes `true` [n] -> [n, T].

    It is the wrong class of smallest mean error over the timesteps of the other half: those of even place for a
    timestep of odd place, and the other way round. A class that is near only by the luck of its noise is thus never
    compared on the noise it was chosen on. Raises ValueError if there is no wrong class or a single timestep.
    """
    images, timesteps, classes = errors.shape
    if classes < 2 or timesteps < 2:
        raise ValueError(f"{classes} classes at {timesteps} timesteps: a hardest wrong class needs two of each")
    wrong = np.empty((images, timesteps), dtype=np.int64)
    for half in (0, 1):
        means = errors[:, 1 - half :: 2].mean(axis=1)
        means[np.arange(images), true] = np.inf
        wrong[:, half::2] = means.argmin(axis=1)[:, None]
    return wrong
