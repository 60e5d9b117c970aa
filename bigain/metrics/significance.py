"""Is a difference between two methods on the same images real?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from bigain.metrics.accuracy import Estimate

RESAMPLES = 2000


def paired_difference(ours: np.ndarray, theirs: np.ndarray, seed: int) -> Estimate:
    """Mean of ours - theirs over the same images, times 100, with a paired percentile bootstrap over images.

    Differences that take few values (hits differ by -1, 0 or 1) are resampled by how often each occurs, which is the
    same distribution for a fraction of the work.
    """
    difference = ours.astype(float) - theirs.astype(float)
    if not difference.any():
        return Estimate(0.0, 0.0, 0.0, len(difference))
    low, high = np.percentile(_resampled_means(difference, seed), [2.5, 97.5])
    return Estimate(100 * float(difference.mean()), 100 * float(low), 100 * float(high), len(difference))


def _resampled_means(values: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= 16:
        drawn = rng.multinomial(len(values), counts / len(values), size=RESAMPLES)
        return drawn @ distinct / len(values)
    return np.array([values[rng.integers(len(values), size=len(values))].mean() for _ in range(RESAMPLES)])


def mcnemar(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Exact McNemar test: the p-value of the discordant pairs of two methods' hits on the same images."""
    return sign_test(ours.astype(float) - theirs.astype(float))


def sign_test(differences: np.ndarray) -> float:
    """Exact two-sided sign test of paired differences; of hits it is McNemar's, of means over seeds its extension."""
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0


def bootstrap_p(differences: np.ndarray, seed: int) -> float:
    """Two-sided p-value of a mean paired difference: how often its resamples lie on the other side of zero."""
    means = _resampled_means(differences, seed)
    tail = min((means <= 0).sum(), (means >= 0).sum()) + 1  # the sample itself is one of its resamples
    return float(min(1.0, 2 * tail / (RESAMPLES + 1)))


def interval_difference(ours: Estimate, theirs: Estimate) -> tuple[Estimate, float]:
    """ours - theirs and its two-sided p-value from two values with normal intervals, as if they were independent.

    For Fréchet distances, whose jackknife intervals are over generated images: these share their noise, so this errs on
    the careful side.
    """
    spread = np.hypot(ours.high - ours.low, theirs.high - theirs.low) / (2 * 1.96)
    value = ours.value - theirs.value
    p = 2 * stats.norm.sf(abs(value) / spread) if spread > 0 else float(value == 0)
    return Estimate(value, value - 1.96 * spread, value + 1.96 * spread, min(ours.n, theirs.n)), float(p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p-values that hold for the whole family, in the given order."""
    order = np.argsort(p_values, kind="stable")
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
