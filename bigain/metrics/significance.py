"""Significance of differences between methods evaluated on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from bigain.metrics.accuracy import Estimate

RESAMPLES = 2000


class DifferenceTest(NamedTuple):
    """A difference with its 95% interval, and the p-value of there being none."""

    estimate: Estimate
    p: float


def paired_difference(ours: np.ndarray, theirs: np.ndarray, seed: int) -> Estimate:
    """Return the mean of ours - theirs over the same images, times 100, with a paired percentile bootstrap interval."""
    difference = ours.astype(float) - theirs.astype(float)
    if not difference.any():
        return Estimate(0.0, 0.0, 0.0, len(difference))
    low, high = np.percentile(_resampled_means(difference, seed), [2.5, 97.5])
    return Estimate(100 * float(difference.mean()), 100 * float(low), 100 * float(high), len(difference))


def _resampled_means(values: np.ndarray, seed: int) -> np.ndarray:
    """Return the means of bootstrap resamples.

    Values of which few are distinct (hits differ by -1, 0 or 1) are resampled by multinomial counts of each: the same
    distribution for a fraction of the work.
    """
    rng = np.random.default_rng(seed)
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= 16:
        resampled = rng.multinomial(len(values), counts / len(values), size=RESAMPLES)
        return resampled @ distinct / len(values)
    return np.array([values[rng.integers(len(values), size=len(values))].mean() for _ in range(RESAMPLES)])


def mcnemar(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the p-value of the exact McNemar test on two methods' hits on the same images."""
    return sign_test(ours.astype(float) - theirs.astype(float))


def sign_test(differences: np.ndarray) -> float:
    """Return the p-value of the exact two-sided sign test of paired differences; for hits it is McNemar's test."""
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0


def bootstrap_p(differences: np.ndarray, seed: int) -> float:
    """Return a two-sided bootstrap p-value of a mean paired difference: how often its resamples cross zero."""
    means = _resampled_means(differences, seed)
    tail = min((means <= 0).sum(), (means >= 0).sum()) + 1  # the sample counts as one of its resamples
    return float(min(1.0, 2 * tail / (RESAMPLES + 1)))


def interval_difference(ours: Estimate, theirs: Estimate) -> DifferenceTest:
    """Return ours - theirs, from two normal intervals taken as independent, with a two-sided test.

    This is for Fréchet distances, whose jackknife intervals are over generated images. Their low end may be cut off at
    zero, so the spread is read from the high end. The images of two methods share their noise, so the test is
    conservative.
    """
    spread = np.hypot(ours.high - ours.value, theirs.high - theirs.value) / 1.96
    value = ours.value - theirs.value
    p = 2 * stats.norm.sf(abs(value) / spread) if spread > 0 else float(value == 0)
    estimate = Estimate(value, value - 1.96 * spread, value + 1.96 * spread, min(ours.n, theirs.n))
    return DifferenceTest(estimate, float(p))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm's step-down method for the whole family, in the same order."""
    order = np.argsort(p_values, kind="stable")
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
