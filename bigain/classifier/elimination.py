"""Dropping a class as soon as a paired test says that it cannot win: fewer noise predictions for the same answer.

All classes of an image are compared under the same noise, so at every (t, eps) the difference between a class's error
and the leader's is one observation. Trials come in an order of which every beginning is spread over all timesteps, a
few at a time; after each few, every class whose mean difference is larger than what the test allows by chance at its
error level is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bigain.classifier.timesteps import midpoints


def cantelli(differences: np.ndarray, level: float) -> np.ndarray:
    """Cantelli's inequality (the paper's bound behind Theorem 1): P(mean - mu >= s sqrt((1 - level) / (level n))) <=
    level for standard deviation s, which is estimated here. [K, n] -> [K]."""
    return _standard_error(differences) * math.sqrt((1 - level) / level)


def empirical_bernstein(differences: np.ndarray, level: float) -> np.ndarray:
    """The empirical Bernstein bound (Maurer and Pontil 2009): sqrt(2 V log(2 / level) / n) + 7 R log(2 / level) /
    (3 (n - 1)) for variance V and range R; R is the range that was seen. [K, n] -> [K]."""
    count, log = differences.shape[1], math.log(2 / level)
    return math.sqrt(2 * log) * _standard_error(differences) + 7 * np.ptp(differences, axis=1) * log / (3 * (count - 1))


def _standard_error(differences: np.ndarray) -> np.ndarray:
    """Of every class's mean difference. After a few trials some variances come out far too small, and those classes
    would go first; so none counts as smaller than the mean over the classes (but the leader, whose differences are 0).
    """
    variance = differences.var(axis=1, ddof=1)
    usual = variance[variance > 0].mean() if variance.any() else 0.0
    return np.sqrt(np.maximum(variance, usual) / differences.shape[1])


TESTS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    function.__name__: function for function in (cantelli, empirical_bernstein)
}


@dataclass(frozen=True)
class Elimination:
    """A schedule of tests: `test` of `TESTS` after every `every` trials, at the error `level` of one comparison.

    Raises ValueError for a level outside (0, 1), an unknown test and fewer than two trials at a time.
    """

    test: str
    level: float
    every: int

    def __post_init__(self) -> None:
        if self.test not in TESTS or not 0 < self.level < 1 or self.every < 2:
            raise ValueError(
                f"elimination {self.test!r} at level {self.level} every {self.every} trials: a test of "
                f"{', '.join(TESTS)}, a level between 0 and 1 and at least 2 trials at a time are needed"
            )

    def waves(self, trials: int) -> list[list[int]]:
        """The timesteps of every wave: the grid of M midpoints in the order of their bit-reversed places, so that the
        first few are spread over all of it; what is left of a whole wave joins the last."""
        bits = max(1, (trials - 1).bit_length())
        order = sorted(range(trials), key=lambda k: int(f"{k:0{bits}b}"[::-1], 2))
        visited = [midpoints(trials)[k] for k in order]
        starts = list(range(0, max(1, trials - self.every + 1), self.every))
        return [visited[a:b] for a, b in zip(starts, [*starts[1:], trials], strict=True)]

    def survivors(self, errors: np.ndarray) -> np.ndarray:
        """Which classes stay, of errors [K, n] under the same noise: the one with the lowest mean, ties to the first,
        and all whose mean lies above it by no more than the test allows. [K], bool."""
        leader = errors.mean(axis=1).argmin()
        differences = errors - errors[leader]
        return differences.mean(axis=1) <= TESTS[self.test](differences, self.level)
