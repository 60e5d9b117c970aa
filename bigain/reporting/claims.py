"""The paper's claims, tested on a study's cells with paired tests, and on the paper's own printed numbers.

A claim (claims.yaml) is a list of comparisons, each between two cells on the same images; p-values are
corrected by Holm within a claim. The verdict is that of the worst comparison:

- holds: every comparison is significantly in the claim's favour;
- holds within error: none is significantly against it, and some are not significant;
- does not hold: some comparison is significantly against it;
- not run: the study has none of its comparisons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bigain.core.columns import csv_text
from bigain.core.messages import unknown
from bigain.core.specs import ReportSpec
from bigain.methods.ids import method_of
from bigain.metrics.significance import holm
from bigain.reporting import names
from bigain.reporting.collected import CellScores
from bigain.reporting.entries import check_keys, read_entries
from bigain.reporting.frames import CellMetric
from bigain.reporting.paper_values import printed_pair, printed_tables
from bigain.reporting.rendering import write_table
from bigain.reporting.scores import Scores
from bigain.reporting.tables import arm_columns

LEVEL = 0.05
KINDS = ("better", "close", "grows")
FAMILIES = {"sd2": "unet", "dit_xl2": "dit"}  # of the paper's own backbones


@dataclass(frozen=True)
class Claim:
    """An entry of claims.yaml, which explains its keys; `name` is the entry's own."""

    name: str
    says: str
    kind: str
    of: str
    than: tuple[str, ...]
    metrics: tuple[str, ...]
    families: tuple[str, ...] = ("unet", "dit")
    strengths: tuple[float, ...] | None = None
    than_strength: float | None = None
    margin: float = 0
    control: bool = False

    @classmethod
    def parse(cls, name: str, entry: dict[str, Any]) -> Claim:
        """Return a claim with the canonical ids of its methods. Raises ValueError naming what is missing or unknown."""
        check_keys(entry, cls)
        lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
        of, than = method_of(entry["of"]).id, tuple(method_of(method).id for method in entry["than"])
        settings: dict[str, Any] = {**entry, **lists, "of": of, "than": than}
        claim = cls(name, **settings)
        if claim.kind not in KINDS:
            raise ValueError(unknown("kind", claim.kind, KINDS))
        for metric in claim.metrics:
            if metric not in (*names.METRICS, "distance"):
                raise ValueError(unknown("metric", metric, [*names.METRICS, "distance"]))
        return claim

    def covers(self, family: str, strength: float | None) -> bool:
        """Return whether the claim speaks of a backbone family and a strength of `of`."""
        return family in self.families and (self.strengths is None or strength in self.strengths)

    def counterpart(self, cell: CellMetric, than: str) -> CellMetric:
        """Return the cell that a cell of `of` is compared with: same strength, unless the claim sets another."""
        strength = cell.strength if self.than_strength is None else self.than_strength
        return cell._replace(method=than, strength=None if than == "none" else strength)


@dataclass(frozen=True)
class Comparison:
    """One comparison of a claim: how much better `of` is than `than` (for distances: how much smaller), in points."""

    backbone: str
    dataset: str
    metric: str
    than: str
    strength: float | None
    grown_to: float | None  # the highest strength, to which a lead grows by `value`, along a line
    value: float
    low: float
    high: float
    p: float
    favours: bool | None = None  # significantly for the claim, significantly against it, or not significant

    def strength_label(self, kind: str) -> str:
        """Return the strength of a kind, or the two of a growing lead, for print."""
        strengths = [self.strength] if self.grown_to is None else [self.strength, self.grown_to]
        return " to ".join(names.strength(kind, strength) for strength in strengths)


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim, and how many of the paper's own comparisons agree with it, of how many it prints."""

    claim: Claim
    verdict: str
    comparisons: list[Comparison]
    printed_for: int
    printed: int


def read_claims(path: Path | str) -> dict[str, Claim]:
    """Read claims.yaml. Errors are those of `read_entries`."""
    return read_entries(path, Claim.parse, "claims")


def judge(claim: Claim, scores: Scores, families: Mapping[str, str]) -> Verdict:
    """Judge a claim on a study's cells, whose backbones are of these families, and on the printed numbers."""
    comparisons = [c for metric in claim.metrics for c in _comparisons(claim, metric, scores, families)]
    corrected = holm([c.p for c in comparisons])
    judged = [replace(c, p=p, favours=_favours(claim, c, p)) for c, p in zip(comparisons, corrected, strict=True)]
    return Verdict(claim, _verdict(judged), judged, *in_print(claim))


def in_print(claim: Claim) -> tuple[int, int]:
    """Count the claim's comparisons that the paper's printed numbers bear out, and all that they show."""
    printed = list(printed_tables())
    metrics = ["fid" if metric == "distance" else metric for metric in claim.metrics]
    outcomes = []
    for cell in printed:
        if cell.metric not in metrics or cell.method != claim.of:
            continue
        if not claim.covers(FAMILIES[cell.backbone], cell.strength):
            continue
        for than in claim.than:
            gain = _printed_gain(cell, claim.counterpart(cell, than))
            if gain is None:
                continue
            if claim.kind == "better":
                outcomes.append(gain > 0)
            elif claim.kind == "close":
                outcomes.append(abs(gain) <= claim.margin)
            else:
                strengths = _strengths(cell, printed)
                last = cell._replace(strength=strengths[-1])
                grown = _printed_gain(last, claim.counterpart(last, than))
                if cell.strength == strengths[0] and grown is not None:
                    outcomes.append(grown > gain)
    return sum(outcomes), len(outcomes)


def _printed_gain(cell: CellMetric, other: CellMetric) -> float | None:
    """Return by how much the paper's number of one cell is better than another's; None if it does not print both."""
    pair = printed_pair(cell, other)
    if pair is None:
        return None
    return pair[1] - pair[0] if cell.metric == "fid" else pair[0] - pair[1]


def _comparisons(claim: Claim, metric: str, scores: Scores, families: Mapping[str, str]) -> list[Comparison]:
    """Return a claim's comparisons in a metric, before any correction of their p-values."""
    comparisons = []
    cells = [cell for cell in scores.cells(metric, claim.of) if claim.covers(families[cell.backbone], cell.strength)]
    for cell in cells:
        for than in claim.than:
            other = claim.counterpart(cell, than)
            if other not in scores:
                continue
            grown_to = None
            if claim.kind == "grows":
                strengths = [s for s in _strengths(cell, cells) if other._replace(strength=s) in scores]
                if len(strengths) < 2 or cell.strength != strengths[0]:
                    continue
                grown_to = strengths[-1]
                pairs = [(cell._replace(strength=s), other._replace(strength=s)) for s in strengths]
                gain = scores.trend(*zip(*pairs, strict=True))
            else:
                gain = scores.improvement(cell, other)
            place = (cell.backbone, cell.dataset, cell.metric)
            strengths_compared = (cell.strength, grown_to)
            estimate = (gain.value, gain.low, gain.high, gain.p)
            comparisons.append(Comparison(*place, than, *strengths_compared, *estimate))
    return comparisons


def _strengths(cell: CellMetric, cells: list[CellMetric]) -> list[float]:
    """Return the strengths, in rising order, of the cells that differ from this one by their strength at most."""
    return sorted(c.strength for c in cells if c.strength is not None and c._replace(strength=cell.strength) == cell)


def _favours(claim: Claim, comparison: Comparison, p: float) -> bool | None:
    """Return whether a comparison is significantly for (True) or against (False) the claim, or neither (None)."""
    if claim.kind == "close":
        if -claim.margin <= comparison.low and comparison.high <= claim.margin:
            return True
        return False if comparison.low > claim.margin or comparison.high < -claim.margin else None
    return comparison.value > 0 if p < LEVEL else None


def _verdict(comparisons: list[Comparison]) -> str:
    favours = [comparison.favours for comparison in comparisons]
    if not favours:
        return "not run"
    if False in favours:
        return "does not hold"
    return "holds" if all(favours) else "holds within error"


def to_rows(verdicts: list[Verdict]) -> list[dict[str, Any]]:
    """Return a row per comparison, and one for every claim without any."""
    rows: list[dict[str, Any]] = []
    for verdict in verdicts:
        claim = {"claim": verdict.claim.name, "verdict": verdict.verdict, "says": verdict.claim.says}
        rows += [
            claim | arm_columns(verdict.claim.of, comparison.strength) | asdict(comparison)
            for comparison in verdict.comparisons
        ] or [claim]
    return rows


def write_claims(cells: list[CellScores], data: Path, spec: ReportSpec, tex: Path, csv: Path, html: Path) -> None:
    """Judge every claim on a study's cells and write the verdicts in three formats."""
    scores = Scores(cells)
    verdicts = [judge(claim, scores, spec["backbones"]) for claim in read_claims(data).values()]
    context = {"spec": spec, "verdicts": [_printed_verdict(verdict) for verdict in verdicts]}
    write_table("claims", context, csv_text("claims", to_rows(verdicts)), tex, csv, html)


def _printed_verdict(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict for print."""
    favours = [comparison.favours for comparison in verdict.comparisons]
    kind = method_of(verdict.claim.of).strength_kind
    rows = [
        {
            "where": f"{c.backbone}, {c.dataset}, {names.METRICS[c.metric].label}, {c.strength_label(kind)}",
            "than": method_of(c.than).label,
            "value": c.value,
            "low": c.low,
            "high": c.high,
            "p": c.p,
            "favours": {True: "for", False: "against", None: "not significant"}[c.favours],
        }
        for c in verdict.comparisons
    ]
    return {
        "says": verdict.claim.says,
        "control": verdict.claim.control,
        "verdict": verdict.verdict,
        "ahead": sum(comparison.value > 0 for comparison in verdict.comparisons),
        "significant_for": favours.count(True),
        "significant_against": favours.count(False),
        "count": len(favours),
        "printed_for": verdict.printed_for,
        "printed": verdict.printed,
        "rows": rows,
    }
