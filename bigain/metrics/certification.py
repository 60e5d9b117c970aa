"""Certify a rate of rare events on held-out images: Learn-then-Test with exact binomial tails.

(Angelopoulos, Bates, Candès, Jordan and Lei, 2021.) Settings are tested in an order fixed in advance, each at the full
error level, until the first test that fails. The chance of certifying any setting whose rate is too high is then at
most that level.
"""

from __future__ import annotations

from collections.abc import Iterable

from scipy import stats


def tail(events: int, images: int, rate: float) -> float:
    """Return the p-value of "the rate is above `rate`": the chance of so few events among the images at that rate."""
    return float(stats.binom.cdf(events, images, rate))


def upper_bound(events: int, images: int, delta: float) -> float:
    """Return the one-sided Clopper-Pearson bound: the rate at which `tail` is `delta`; 1 if all images are events."""
    return 1.0 if events == images else float(stats.beta.ppf(1 - delta, events + 1, images - events))


def fixed_sequence(p_values: Iterable[float], delta: float) -> int:
    """Return how many hypotheses are rejected at level `delta`, in order, before the first that is not."""
    rejected = 0
    for p in p_values:
        if p > delta:
            break
        rejected += 1
    return rejected
