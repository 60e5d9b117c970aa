"""The comparisons that a claim consists of, each between two cells of one source of numbers.

A source is a study's cells (`study_numbers.py`) or the paper's tables (`printed_claims.py`): both are compared and
judged by the same rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from bigain.methods.ids import method_of
from bigain.metrics.significance import Difference
from bigain.reporting import names
from bigain.reporting.claims import Claim, ClaimsFile
from bigain.reporting.evidence import UNDECIDED, UNTESTABLE, Evidence, weakest, weigh
from bigain.reporting.frames import CellMetric


@dataclass(frozen=True)
class Measured:
    """A measured lead of one cell over another: one reading, several between which a source cannot choose, or none, for
    a `reason`. A number that is printed without its spread has a `value` but no reading."""

    readings: tuple[Difference, ...] = ()
    value: float | None = None
    reason: str = ""


class Source(Protocol):
    """Numbers that claims are judged on."""

    @property
    def families(self) -> Mapping[str, str]:
        """The families of the backbones."""

    def cells(self, metric: str, method: str) -> list[CellMetric]:
        """Return the cells of a method that have a metric; `distance` stands for either Fréchet distance."""

    def __contains__(self, cell: CellMetric) -> bool:
        """Return whether the source knows the cell."""

    def improvement(self, ours: CellMetric, theirs: CellMetric) -> Measured:
        """Return by how much our cell is better than theirs."""

    def trend(self, ours: CellMetric, theirs: CellMetric, strengths: list[float]) -> Measured:
        """Return by how much the improvement grows from the lowest to the highest strength, by a line through all."""

    def uncompressed(self, cell: CellMetric) -> float | None:
        """Return the number of the uncompressed model beside a cell's."""


@dataclass(frozen=True)
class Comparison:
    """A comparison of a claim: what is claimed of the cells of `method` and `than`, and what was measured.

    `strengths` has one strength, or all that a trend goes over; `margin` is in the metric's own unit. `evidence` is
    None where the comparison cannot be tested.
    """

    claimed: str
    cell: CellMetric
    than: CellMetric
    strengths: list[float | None]
    margin: float | None
    measured: Measured
    evidence: Evidence | None

    @property
    def verdict(self) -> str:
        """The verdict on this comparison alone."""
        if self.evidence is None:
            return UNTESTABLE if self.measured.value is None else UNDECIDED
        return self.evidence.verdict

    @property
    def widest(self) -> Difference | None:
        """The reading with the widest interval."""
        return max(self.measured.readings, key=lambda reading: reading.high - reading.low, default=None)

    @property
    def value(self) -> float | None:
        """By how much `cell` is better than `than`, or a lead grows."""
        return self.measured.value if self.widest is None else self.widest.value

    @property
    def detectable(self) -> tuple[float, float] | None:
        """The smallest true difference that would have been shown with 80% power, in the best and the worst reading."""
        detectable = [reading.detectable for reading in self.measured.readings]
        return (min(detectable), max(detectable)) if detectable else None

    @property
    def strength_label(self) -> str:
        """The strength, or the lowest and the highest of a trend, for print."""
        kind = method_of(self.cell.method).strength_kind
        shown = [names.strength(kind, strength) for strength in (self.strengths[0], self.strengths[-1])]
        return shown[0] if len(self.strengths) == 1 else " to ".join(shown)


def comparisons(claim: Claim, file: ClaimsFile, source: Source) -> list[Comparison]:
    """Return every comparison of a claim for which a source has both cells, once each."""
    compared = [
        comparison
        for metric in claim.metrics
        for cell in source.cells(metric, claim.of)
        if claim.covers(source.families[cell.backbone], cell.strength)
        for than in claim.than
        for comparison in _of_cell(claim, file.margin(claim, metric), cell, claim.counterpart(cell, than), source)
    ]
    return list({(comparison.cell, comparison.than): comparison for comparison in compared}.values())


def _of_cell(
    claim: Claim, margin: float | None, cell: CellMetric, other: CellMetric, source: Source
) -> Iterator[Comparison]:
    """Yield a claim's comparisons of a cell with another: for `fails`, of each with the uncompressed model."""
    if other not in source:
        return
    if claim.kind == "fails":
        none = cell._replace(method="none", strength=None)
        if none in source:
            yield _compared("fails", other, none, margin, source)
            yield _compared("stable", cell, none, margin, source)
    elif claim.kind == "grows":
        strengths = _common_strengths(claim, cell, other, source)
        if len(strengths) > 1 and cell.strength == strengths[0]:
            yield _compared("grows", cell, other, margin, source, strengths)
    else:
        yield _compared(claim.kind, cell, other, margin, source)


def _compared(
    claimed: str,
    cell: CellMetric,
    than: CellMetric,
    margin: float | None,
    source: Source,
    strengths: list[float] | None = None,
) -> Comparison:
    """Measure a comparison and weigh the evidence; a margin of a distance is a share of the uncompressed model's."""
    if margin is not None and cell.metric in names.DISTANCES:
        uncompressed = source.uncompressed(cell)
        margin = None if uncompressed is None else margin * uncompressed
    measured = source.trend(cell, than, strengths) if strengths else source.improvement(cell, than)
    if margin is None and claimed in ("close", "fails", "stable"):
        measured = Measured(reason="the margin is a share of the uncompressed model's distance, which was not run")
    readings = [weigh(claimed, reading, margin) for reading in measured.readings]
    evidence = weakest(readings) if readings else None
    return Comparison(claimed, cell, than, [*strengths] if strengths else [cell.strength], margin, measured, evidence)


def _common_strengths(claim: Claim, cell: CellMetric, other: CellMetric, source: Source) -> list[float]:
    """Return, in rising order, the strengths of a cell and its counterpart that the claim covers and both have."""
    alike = [c for c in source.cells(cell.metric, cell.method) if c._replace(strength=cell.strength) == cell]
    return sorted(
        c.strength
        for c in alike
        if c.strength is not None
        and claim.covers(source.families[c.backbone], c.strength)
        and other._replace(strength=c.strength) in source
    )
