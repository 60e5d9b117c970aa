"""Paired differences between methods evaluated on the same images: interval, p-values and power from one model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import optimize, stats

from bigain.metrics.bounded_mean import BoundedMean
from bigain.metrics.jackknife import BLOCKS, Blocks, standard_error
from bigain.metrics.multiplicity import benjamini_hochberg, holm
from bigain.metrics.power import LEVEL, POWER, detectable_difference

__all__ = [
    "Blocks",
    "Difference",
    "Student",
    "benjamini_hochberg",
    "holm",
    "is_positive",
    "paired",
    "paired_distances",
]

Tails = Callable[[float], tuple[float, float]]
"""Probabilities of a difference at least, and at most, as large as the observed one under a true difference."""


@dataclass(frozen=True)
class Difference:
    """A paired difference with its 95% interval, its two-sided p-value and the smallest difference it could show.

    All come from `tails`: the interval holds the true differences whose tails are both at least 2.5%, so p < .05
    exactly when it excludes 0. Differences in accuracy are percentage points.
    """

    value: float
    low: float
    high: float
    n: int  # pairs of images
    p: float  # of no difference
    detectable: float  # smallest true difference that is significant with 80% power; inf if none is
    tails: Tails = field(repr=False, compare=False)

    def p_above(self, bound: float) -> float:
        """Return the one-sided p-value of the difference being at most the bound: small if it is larger."""
        return self.tails(bound)[0]

    def p_below(self, bound: float) -> float:
        """Return the one-sided p-value of the difference being at least the bound: small if it is smaller."""
        return self.tails(bound)[1]


@dataclass(frozen=True)
class _InPoints:
    """Tails of a mean of bounded values in percent."""

    mean: BoundedMean

    def __call__(self, difference: float) -> tuple[float, float]:
        return self.mean.tails(difference / 100)


@dataclass(frozen=True)
class Student:
    """Tails of an estimate with a standard error on some degrees of freedom."""

    value: float
    error: float
    freedom: float

    def __call__(self, difference: float) -> tuple[float, float]:
        if self.error == 0:
            above = (1 + np.sign(difference - self.value)) / 2
            return above, 1 - above
        t = (self.value - difference) / self.error
        return float(stats.t.sf(t, self.freedom)), float(stats.t.cdf(t, self.freedom))

    def difference(self, n: int) -> Difference:
        """Return the estimate as a difference between n pairs of images."""
        reach, power = stats.t.ppf([1 - LEVEL / 2, POWER], self.freedom) * self.error
        p = min(1.0, 2 * min(self(0)))
        return Difference(self.value, self.value - reach, self.value + reach, n, p, reach + power, self)


def paired(differences: np.ndarray, bound: float = 1.0) -> Difference:
    """Test the mean of paired differences in [-bound, bound], one per image, in percentage points.

    They are differences of hits or average precisions, of one seed or averaged over seeds, or combinations of such
    differences. The test is that of `BoundedMean`; for hits without a true difference it is McNemar's mid-p test with
    the number of discordant images not held fixed. A sign-flip test of the mean is nearly the same test, but
    gives no interval, and says nothing without discordant images. Raises ValueError for fewer than
    two images or a difference outside the bounds.
    """
    mean = _mean(differences, bound)
    above, below = mean.tails(0)
    detectable = bound * detectable_difference(float(np.mean((differences / bound) ** 2)), len(differences))
    return Difference(
        value=100 * mean.mean,
        low=100 * _limit(mean, -mean.bound, 0),
        high=100 * _limit(mean, mean.bound, 1),
        n=len(differences),
        p=min(1.0, 2 * min(above, below)),
        detectable=100 * detectable,
        tails=_InPoints(mean),
    )


def is_positive(differences: np.ndarray) -> bool:
    """Return whether the interval of `paired` lies above 0, without computing its ends."""
    mean = _mean(differences, bound=1.0)
    return mean.mean > 0 and mean.tails(0)[0] < LEVEL / 2


def _mean(differences: np.ndarray, bound: float) -> BoundedMean:
    """Return the mean of paired differences. Raises ValueError as `paired` does."""
    differences = np.asarray(differences, dtype=float)
    if len(differences) < 2:
        raise ValueError(f"{len(differences)} common images; a test needs at least 2")
    if not (np.abs(differences) <= bound + 1e-9).all():
        raise ValueError(f"a paired difference is not in [-{bound:g}, {bound:g}]")
    return BoundedMean.of(differences, float(bound))


def paired_distances(ours: Blocks, theirs: Blocks) -> Difference:
    """Test the difference of two cells' distances, ours - theirs, by the jackknife over blocks of their common images.

    The test is cautious where the distances are mostly bias, those of nearly perfect generators with few images,
    because a jackknife overestimates the variance there. Raises ValueError if their images are not the same.
    """
    return combined_distances([(1.0, ours), (-1.0, theirs)])


def combined_distances(weighted: Sequence[tuple[float, Blocks]]) -> Difference:
    """Test a weighted sum of cells' distances as `paired_distances` does: Student's t with 19 degrees of freedom."""
    images = common_images([blocks for _, blocks in weighted])
    value = sum(weight * blocks.value for weight, blocks in weighted)
    error = standard_error(np.sum([weight * blocks.pseudo_values for weight, blocks in weighted], axis=0))
    return Student(value, error, BLOCKS - 1).difference(images["n"])


def common_images(cells: Sequence[Blocks]) -> Mapping[str, Any]:
    """Return the description (`Blocks.images`) of the images that cells share. Raises ValueError if they differ."""
    images = cells[0].images
    for cell in cells:
        for key in sorted(images.keys() | cell.images.keys()):
            if (first := images.get(key)) != (other := cell.images.get(key)):
                raise ValueError(f"no common images: {key} is {first} and {other}")
    return images


def _limit(mean: BoundedMean, end: float, tail: int) -> float:
    """Return the true mean, between the observed one and an end of its range, under which a tail is 2.5%."""

    def excess(delta: float) -> float:
        return mean.tails(delta)[tail] - LEVEL / 2

    if excess(end) >= 0:  # all values are at this end
        return end
    return float(optimize.brentq(excess, end, mean.mean, xtol=1e-8))
