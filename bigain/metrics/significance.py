"""Is a difference between two methods on the same images real?"""

from __future__ import annotations

import numpy as np
from scipy import stats

from bigain.metrics.accuracy import CONFIDENCE, Estimate


def paired_difference(ours: np.ndarray, theirs: np.ndarray, seed: int) -> Estimate:
    """Mean of ours - theirs over the same images, times 100, with a paired percentile bootstrap."""
    difference = ours.astype(float) - theirs.astype(float)
    if not difference.any():
        return Estimate(0.0, 0.0, 0.0, len(difference))
    interval = stats.bootstrap(
        (difference,), np.mean, confidence_level=CONFIDENCE, n_resamples=2000, method="percentile", rng=seed
    ).confidence_interval
    return Estimate(100 * difference.mean(), 100 * interval.low, 100 * interval.high, len(difference))


def mcnemar(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Exact McNemar test: the p-value of the discordant pairs of two methods' hits on the same images."""
    wins, losses = int((ours & ~theirs).sum()), int((~ours & theirs).sum())
    return stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
