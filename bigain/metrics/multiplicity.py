"""p-values of several tests, corrected for their number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm's step-down method for the whole family, in the same order."""
    order = np.argsort(p_values, kind="stable")
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Return q-values by Benjamini and Hochberg's step-up method, in the same order.

    Rejecting where q <= level keeps the expected share of false rejections below the level.
    """
    order = np.argsort(p_values, kind="stable")
    q_values, smallest = [0.0] * len(p_values), 1.0
    for rank, index in reversed(list(enumerate(order, start=1))):
        smallest = min(smallest, len(p_values) * p_values[index] / rank)
        q_values[index] = float(smallest)
    return q_values
