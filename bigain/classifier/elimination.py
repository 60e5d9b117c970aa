"""Elimination of classes by paired differences: fewer noise predictions, nearly always for the same answer.

All classes of an image share eps, so the difference between the errors of a class and of the leader is one paired
observation per (t, eps). Timesteps are visited a few at a time, in an order whose every prefix spreads over the whole
grid. Each time, a class is dropped if its mean difference exceeds z standard errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bigain.classifier.timesteps import midpoints
from bigain.core.plain_numbers import real_number, whole_number


def standard_errors(differences: np.ndarray) -> np.ndarray:
    """Return the standard error of each class's mean difference: differences [K, n] -> [K].

    After a few trials some variances are far too small, and those classes would be dropped first. So a variance counts
    as at least the mean over all classes but the leader, whose differences are 0.
    """
    variance = differences.var(axis=1, ddof=1)
    mean_variance = variance[variance > 0].mean() if variance.any() else 0.0
    return np.sqrt(np.maximum(variance, mean_variance) / differences.shape[1])


@dataclass(frozen=True)
class Elimination:
    """A schedule: after every `every` trials, classes `z` standard errors behind the leader are dropped.

    z is not an error rate: the comparison is repeated, and the leader is chosen from the same trials. How often the
    decision differs from that of all trials is measured on held-out images (`bigain elimination --calibrate`).

    Raises TypeError for values that are not numbers, ValueError unless z is positive and finite, and for fewer than two
    trials between looks.
    """

    z: float
    every: int

    def __post_init__(self) -> None:
        z, every = real_number("Elimination.z", self.z), whole_number("Elimination.every", self.every)
        if not 0 < z < math.inf or every < 2:
            raise ValueError(
                f"elimination at z = {self.z} every {self.every} trials: `z` has to be positive and finite, and "
                "`every` at least 2"
            )

    def timesteps(self, trials: int) -> list[list[int]]:
        """Return the timesteps between looks: the grid of M midpoints in bit-reversed order, `every` at a time.

        Bit reversal spreads the first few over the whole grid. Trials that do not fill another stage join the last.
        """
        bits = max(1, (trials - 1).bit_length())
        order = sorted(range(trials), key=lambda k: int(f"{k:0{bits}b}"[::-1], 2))
        visited = [midpoints(trials)[k] for k in order]
        starts = list(range(0, max(1, trials - self.every + 1), self.every))
        return [visited[a:b] for a, b in zip(starts, [*starts[1:], trials], strict=True)]

    def survivors(self, errors: np.ndarray, trials: int) -> np.ndarray:
        """Return which classes survive, bool [K], by their errors [K, n] in the first n of M `trials`, of shared noise.

        The leader, the first class with the lowest mean, survives, and so does every class whose mean exceeds the
        leader's by no more than the bound.
        """
        differences = errors - errors[errors.mean(axis=1).argmin()]
        return differences.mean(axis=1) <= self.bounds(differences, trials)

    def bounds(self, differences: np.ndarray, trials: int) -> np.ndarray:
        """Return z standard errors of each mean difference, times the finite-population factor sqrt(1 - n/M).

        The target is the decision after all M trials, so no uncertainty is left once all M are seen.
        Differences [K, n] -> bounds [K].
        """
        seen = differences.shape[1]
        if seen == trials:
            return np.zeros(len(differences))
        return self.z * math.sqrt(1 - seen / trials) * standard_errors(differences)
