"""The delete-a-block jackknife of a statistic of generated images.

Block b of 20 is the images b, b + 20, ... of those in the order of `by_stratum`: every block holds the same share of
every class, as the images themselves do. In another order, blocks may hold a class each, and then the jackknife takes
the differences between classes for sampling error. The blocks of two cells that generate from the same noise and
captions hold the same images, so the difference of their distances is jackknifed as one statistic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from bigain.metrics.accuracy import CONFIDENCE, Estimate

BLOCKS = 20
T = float(stats.t.ppf((1 + CONFIDENCE) / 2, BLOCKS - 1))  # half a 95% interval, in standard errors


class Jackknifed(NamedTuple):
    """An estimate with the values [20] of the statistic without each block."""

    estimate: Estimate
    left_out: np.ndarray


@dataclass(frozen=True)
class Blocks:
    """A cell's distance, and its values [20] without each block of generated images.

    `images` says which images they are: their number `n`, the `seed` of their noise, and digests of the `captions` and
    of the `reference` that they are compared with. Blocks of two cells belong together if it is the same for both.
    """

    value: float
    left_out: np.ndarray
    images: Mapping[str, Any]

    @property
    def pseudo_values(self) -> np.ndarray:
        """Pseudo-values [20] of the blocks; the variance of their mean is that of the distance."""
        return BLOCKS * self.value - (BLOCKS - 1) * self.left_out


def by_stratum(strata: Sequence[tuple[Any, ...]]) -> np.ndarray:
    """Return the places [N] of images sorted by stratum, such as their class and caption, then by place."""
    return np.array(sorted(range(len(strata)), key=strata.__getitem__), dtype=np.int64)


def jackknifed(value: float, left_out: np.ndarray, n: int, lowest: float = -np.inf) -> Jackknifed:
    """Return a statistic of n images with its 95% interval, Student's t with 19 degrees of freedom, cut off below."""
    spread = T * standard_error(BLOCKS * value - (BLOCKS - 1) * left_out)
    return Jackknifed(Estimate(value, max(lowest, value - spread), value + spread, n), left_out)


def standard_error(pseudo_values: np.ndarray) -> float:
    """Return the standard error of the mean of pseudo-values."""
    return float(np.std(pseudo_values, ddof=1) / np.sqrt(len(pseudo_values)))


def over_seeds(seeds: Sequence[Blocks]) -> Blocks:
    """Return the mean over seeds of a cell, block by block."""
    images = {key: [blocks.images[key] for blocks in seeds] for key in seeds[0].images}
    return Blocks(
        value=float(np.mean([blocks.value for blocks in seeds])),
        left_out=np.mean([blocks.left_out for blocks in seeds], axis=0),
        images=images | {"n": sum(images["n"])},
    )
