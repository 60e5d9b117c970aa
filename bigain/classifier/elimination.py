"""Elimination of classes by paired tests: fewer noise predictions for the same answer.

All classes of an image share eps, so the difference between the errors of a class and of the leader is one paired
observation per (t, eps). Timesteps are visited a few at a time, in an order whose every beginning spreads over the
whole grid. After each few, a class is dropped if its mean difference exceeds what chance allows at the test's level.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bigain.classifier.timesteps import midpoints


def cantelli(differences: np.ndarray, level: float) -> np.ndarray:
    """Cantelli's bound (which Theorem 1 rests on): P(mean - mu >= s sqrt((1 - level) / (level n))) <= level.

    The standard deviation s is estimated. Differences [K, n] -> bounds [K].
    """
    return _standard_error(differences) * math.sqrt((1 - level) / level)


def empirical_bernstein(differences: np.ndarray, level: float) -> np.ndarray:
    """Empirical Bernstein bound: sqrt(2 V log(2 / level) / n) + 7 R log(2 / level) / (3 (n - 1)).

    For sample variance V and range R (Maurer and Pontil 2009), of which the observed range is taken here. Differences
    [K, n] -> bounds [K].
    """
    count, log = differences.shape[1], math.log(2 / level)
    return math.sqrt(2 * log) * _standard_error(differences) + 7 * np.ptp(differences, axis=1) * log / (3 * (count - 1))


def _standard_error(differences: np.ndarray) -> np.ndarray:
    """Return the standard error of each class's mean difference.

    After a few trials some variances are far too small, and those classes would be dropped first. So a variance counts
    as at least the mean over all classes but the leader, whose differences are 0.
    """
    variance = differences.var(axis=1, ddof=1)
    mean_variance = variance[variance > 0].mean() if variance.any() else 0.0
    return np.sqrt(np.maximum(variance, mean_variance) / differences.shape[1])


TESTS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    function.__name__: function for function in (cantelli, empirical_bernstein)
}


@dataclass(frozen=True)
class Elimination:
    """A sequential test: `test` (a key of `TESTS`) after every `every` trials, at `level` per comparison.

    Raises ValueError for an unknown test, a level outside (0, 1) and fewer than two trials between tests.
    """

    test: str
    level: float
    every: int

    def __post_init__(self) -> None:
        if self.test not in TESTS or not 0 < self.level < 1 or self.every < 2:
            raise ValueError(
                f"elimination {self.test!r} at level {self.level} every {self.every} trials: `test` has to be "
                f"{' or '.join(TESTS)}, `level` between 0 and 1, and `every` at least 2"
            )

    def timesteps(self, trials: int) -> list[list[int]]:
        """Return the timesteps between tests: the grid of M midpoints in bit-reversed order, `every` at a time.

        Bit reversal spreads the first few over the whole grid. Trials that do not fill another stage join the last.
        """
        bits = max(1, (trials - 1).bit_length())
        order = sorted(range(trials), key=lambda k: int(f"{k:0{bits}b}"[::-1], 2))
        visited = [midpoints(trials)[k] for k in order]
        starts = list(range(0, max(1, trials - self.every + 1), self.every))
        return [visited[a:b] for a, b in zip(starts, [*starts[1:], trials], strict=True)]

    def survivors(self, errors: np.ndarray) -> np.ndarray:
        """Return which classes survive [K], bool, given their errors [K, n] under the same noise.

        The leader, the first class with the lowest mean, survives, and every class whose mean exceeds the leader's by
        no more than the bound.
        """
        leader = errors.mean(axis=1).argmin()
        differences = errors - errors[leader]
        return differences.mean(axis=1) <= TESTS[self.test](differences, self.level)
