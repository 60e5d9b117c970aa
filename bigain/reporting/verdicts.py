"""Verdicts on claims.

A claim is *supported everywhere* if every one of its comparisons is (one-sided p < .05 each: an intersection-union
test, which needs no correction), *contradicted in k of m* if k of its comparisons are contradicted after Holm's
correction, and *equivalent everywhere* if every difference is shown to lie within its margin. Otherwise it is
*supported in k of m*, again after Holm's correction, or undecided. The counts of comparisons by verdict judge each
comparison by itself, without correction. q is the false-discovery rate of Benjamini and Hochberg over all claims that
were tested.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bigain.metrics.significance import Difference, benjamini_hochberg, holm
from bigain.reporting.claims import Claim, ClaimsFile
from bigain.reporting.comparisons import Comparison, Source, comparisons
from bigain.reporting.evidence import CONTRADICTED, EQUIVALENT, LEVEL, SUPPORTED, UNDECIDED, UNTESTABLE, Evidence
from bigain.reporting.frames import CellMetric
from bigain.reporting.study_numbers import StudyNumbers

NOT_RUN = "not run"
EVERYWHERE, EQUIVALENT_EVERYWHERE = f"{SUPPORTED} everywhere", f"{EQUIVALENT} everywhere"
PARTLY = f"partly {SUPPORTED}"


@dataclass(frozen=True)
class Lead:
    """The mean of the leads of several comparisons of one metric, data set and backbone."""

    cell: CellMetric  # of the first of them
    count: int
    difference: Difference


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim: `p` is its largest one-sided p-value, `supports` and `contradicts` the numbers of
    comparisons that do so after Holm's correction, and `q` is known once all claims are judged."""

    claim: Claim
    verdict: str
    comparisons: list[Comparison]
    supports: int = 0
    contradicts: int = 0
    p: float | None = None
    q: float | None = None

    def count(self, verdict: str) -> int:
        """Return how many comparisons have a verdict, each by itself."""
        return sum(comparison.verdict == verdict for comparison in self.comparisons)

    @property
    def says(self) -> str:
        """The verdict with its numbers, for print."""
        total = len(self.comparisons)
        if self.verdict == CONTRADICTED:
            return f"{CONTRADICTED} in {self.contradicts} of {total}"
        if self.verdict == PARTLY:
            return f"{SUPPORTED} in {self.supports} of {total}"
        if self.verdict == UNTESTABLE:
            return f"{UNTESTABLE}: {'; '.join(dict.fromkeys(c.measured.reason for c in self.comparisons))}"
        return self.verdict

    @property
    def counts(self) -> str:
        """The number of comparisons with each verdict, for print."""
        kinds = (SUPPORTED, CONTRADICTED, EQUIVALENT, UNDECIDED, UNTESTABLE)
        return ", ".join(f"{self.count(kind)} {kind}" for kind in kinds if self.count(kind))

    @property
    def images(self) -> tuple[int, int] | None:
        """The fewest and the most images of a comparison that was tested."""
        counts = [reading.n for c in self.comparisons for reading in c.measured.readings]
        return (min(counts), max(counts)) if counts else None


def judge_all(file: ClaimsFile, source: Source) -> list[Verdict]:
    """Judge every claim on a source's numbers, and control the false-discovery rate over all that could be tested."""
    verdicts = [judge(claim, file, source) for claim in file.claims.values()]
    tested = [verdict.p for verdict in verdicts if verdict.p is not None]
    rates = iter(benjamini_hochberg(tested))
    return [verdict if verdict.p is None else replace(verdict, q=next(rates)) for verdict in verdicts]


def judge(claim: Claim, file: ClaimsFile, source: Source) -> Verdict:
    """Judge a claim on a source's numbers."""
    compared = comparisons(claim, file, source)
    if not compared:
        return Verdict(claim, NOT_RUN, [])
    if all(comparison.evidence is None for comparison in compared):
        untestable = all(comparison.verdict == UNTESTABLE for comparison in compared)
        return Verdict(claim, UNTESTABLE if untestable else UNDECIDED, compared)
    # A comparison that could not be tested supports, contradicts and equates nothing.
    evidence = [comparison.evidence or Evidence(1.0, 1.0, 1.0) for comparison in compared]
    supports, contradicts, equivalent = zip(*evidence, strict=True)
    supported, contradicted = (sum(p < LEVEL for p in holm(p_values)) for p_values in (supports, contradicts))
    if max(supports) < LEVEL:
        verdict = EVERYWHERE
    elif contradicted:
        verdict = CONTRADICTED
    elif max(equivalent) < LEVEL:
        verdict = EQUIVALENT_EVERYWHERE
    else:
        verdict = PARTLY if supported else UNDECIDED
    return Verdict(claim, verdict, compared, supported, contradicted, max(supports))


def leads(verdict: Verdict, study: StudyNumbers) -> list[Lead]:
    """Return the mean lead over a claim's comparisons for every metric, data set and backbone with several of them.

    Leads are averaged image by image, or block by block, so their correlation between strengths does not matter.
    """
    places: dict[tuple[str, str, str], list[Comparison]] = {}
    for comparison in verdict.comparisons:
        if comparison.claimed in ("better", "close"):
            cell = comparison.cell
            places.setdefault((cell.metric, cell.backbone, cell.dataset), []).append(comparison)
    averaged = []
    for compared in places.values():
        lead = study.mean_improvement([(c.cell, c.than) for c in compared]) if len(compared) > 1 else None
        if lead is not None:
            averaged.append(Lead(compared[0].cell, len(compared), lead))
    return averaged
