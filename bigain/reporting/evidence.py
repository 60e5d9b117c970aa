"""Weigh a measured difference against what a comparison claims."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from bigain.metrics.power import LEVEL
from bigain.metrics.significance import Difference

SUPPORTED, CONTRADICTED, EQUIVALENT, UNDECIDED = "supported", "contradicted", "equivalent", "undecided"
UNTESTABLE = "cannot be tested"


class Evidence(NamedTuple):
    """p-values of a comparison under three null hypotheses: its claim is false, its claim is true, and the difference
    is not within the margin (the larger of two one-sided tests).

    Below `LEVEL`, the first supports the claim, the second contradicts it, and the third shows equivalence.
    """

    supports: float
    contradicts: float
    equivalent: float

    @property
    def verdict(self) -> str:
        """The verdict on the comparison; a significant direction counts before equivalence."""
        if self.supports < LEVEL:
            return SUPPORTED
        if self.contradicts < LEVEL:
            return CONTRADICTED
        return EQUIVALENT if self.equivalent < LEVEL else UNDECIDED


CLAIMED = {  # the differences that a comparison claims, as bounds in multiples of its margin
    "better": (0.0, math.inf),
    "grows": (0.0, math.inf),
    "close": (-1.0, 1.0),
    "fails": (-math.inf, -1.0),
    "stable": (-1.0, math.inf),
}


def weigh(claimed: str, difference: Difference, margin: float | None) -> Evidence:
    """Test a difference against what is claimed of it, and against its margin, if it has one.

    A claim of two bounds is tested at both (intersection-union), its opposite at either (Bonferroni).
    """
    low, high = (bound * (margin or 0.0) if math.isfinite(bound) else bound for bound in CLAIMED[claimed])
    supports = max(difference.p_above(low), difference.p_below(high))
    sides = 2 if math.isfinite(low) and math.isfinite(high) else 1
    contradicts = min(1.0, sides * min(difference.p_below(low), difference.p_above(high)))
    if margin is None or claimed not in ("better", "grows"):
        return Evidence(supports, contradicts, 1.0)
    return Evidence(supports, contradicts, max(difference.p_above(-margin), difference.p_below(margin)))


def weakest(evidence: Sequence[Evidence]) -> Evidence:
    """Return the evidence on which several readings of a number agree: the largest of each p-value."""
    return Evidence(*(max(values) for values in zip(*evidence, strict=True)))
