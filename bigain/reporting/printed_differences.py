"""Recompute the differences that the paper's tables print from the numbers of the same table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from bigain.methods.ids import method_of
from bigain.reporting import names
from bigain.reporting.frames import CellMetric
from bigain.reporting.paper_values import PrintedDelta, printed_deltas, printed_tables

AGREES, DIFFERS, MISREAD = "agrees", "differs", "probably a misread arrow"
TOLERANCE = 0.0051  # of a difference printed with two decimals


class Difference(NamedTuple):
    """A printed difference and the one that the table's numbers give; positive is better."""

    delta: PrintedDelta
    recomputed: float

    @property
    def verdict(self) -> str:
        """AGREES, MISREAD or DIFFERS; a difference that is right once its leading 1 is read as an arrow was misread."""
        if math.isclose(self.delta.printed, self.recomputed, abs_tol=TOLERANCE):
            return AGREES
        return MISREAD if is_misread_arrow(self.delta.printed, self.recomputed) else DIFFERS

    @property
    def only_sign_differs(self) -> bool:
        """True if the printed difference has the right size, but the sign of an improvement for a loss."""
        return self.recomputed < 0 and math.isclose(self.delta.printed, -self.recomputed, abs_tol=TOLERANCE)


def is_misread_arrow(printed: float, recomputed: float) -> bool:
    """Return whether a difference is right once its leading 1 is taken for an arrow: 12.70 for an arrow and 2.70."""
    text = f"{printed:.2f}"
    return text.startswith("1") and text[1:] == f"{abs(recomputed):.2f}"


def differences() -> dict[str, list[Difference]]:
    """Return every printed difference by its table."""
    by_table: dict[str, list[Difference]] = {}
    for delta in printed_deltas():
        by_table.setdefault(delta.table, []).append(Difference(delta, _recomputed(delta)))
    return by_table


def _recomputed(delta: PrintedDelta) -> float:
    printed = printed_tables()
    place = (delta.metric, delta.backbone, delta.dataset)
    of = printed[CellMetric(*place, delta.of, delta.strength)][delta.table]
    against = CellMetric(*place, delta.against, None if delta.against == "none" else delta.strength)
    gain = of - printed[against][delta.table]
    return -gain if delta.metric == "fid" else gain


def listed(chosen: Sequence[Difference]) -> tuple[str, str]:
    """Return differences as printed and as recomputed, in words: by metric and data set, with their strengths."""
    printed: dict[str, list[str]] = {}
    recomputed: dict[str, list[str]] = {}
    for delta, gain in chosen:
        place = f"{names.METRICS[delta.metric].short} on {delta.dataset}"
        at = f" at {names.strength(method_of(delta.of).strength_kind, delta.strength)}"
        printed.setdefault(place, []).append(f"{delta.printed:+.2f}{at}")
        recomputed.setdefault(place, []).append(f"{gain:+.2f}{at}")
    first, second = (
        "; ".join(f"{place}: {', '.join(numbers)}" for place, numbers in by_place.items())
        for by_place in (printed, recomputed)
    )
    return first, second
