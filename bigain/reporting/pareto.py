"""The Pareto front of points with errors: those surely on it, and those surely off it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from bigain.reporting.frames import CellMetric
from bigain.reporting.scores import Scores

Relation = Callable[[int, int], bool]
"""(i, j) -> True if point i is surely better than point j."""


def front(cost: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """Return which points are on the Pareto front, taking them as free of error.

    A point is off it if another beats it: at no higher cost and no lower accuracy, and strictly better in one of them.
    """
    better = (cost[None] <= cost[:, None]) & (accuracy[None] >= accuracy[:, None])
    strictly = (cost[None] < cost[:, None]) | (accuracy[None] > accuracy[:, None])
    return np.logical_not((better & strictly).any(axis=1))


def places(count: int, is_cheaper: Relation, is_no_dearer: Relation, is_more_accurate: Relation) -> list[str]:
    """Return the place of each point: `sure` to be on the front, `off` it, or `possible`.

    A point is surely on it if every other point is surely more expensive or surely less accurate. It is surely off it
    if some other point is surely no more expensive and surely more accurate.
    """

    def place(i: int) -> str:
        others = [j for j in range(count) if j != i]
        if all(is_cheaper(i, j) or is_more_accurate(i, j) for j in others):
            return "sure"
        return "off" if any(is_no_dearer(j, i) and is_more_accurate(j, i) for j in others) else "possible"

    return [place(i) for i in range(count)]


def significantly_better(scores: Scores, cells: Sequence[CellMetric]) -> Relation:
    """Return whether a cell is significantly better than another on the same images (paired, two-sided 5%)."""

    @cache
    def is_better(i: int, j: int) -> bool:
        return scores.is_better(cells[i], cells[j])

    return is_better
