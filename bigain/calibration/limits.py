"""The largest reduction of operations that a structural method can be calibrated to: it is known before calibrating."""

from __future__ import annotations

import math


def refuse_above(largest: float, reduction: float, method: str) -> None:
    """Raise ValueError naming the largest reduction, in percent to two decimals, if the one asked for is above it."""
    if reduction > largest:
        raise ValueError(
            f"{method}: {reduction:g} percent of the operations are to be saved, but at most "
            f"{math.floor(100 * largest) / 100:g} percent can be: ask for a smaller reduction"
        )
