"""The table of the paper's claims: the verdicts on a study's cells, and on the paper's printed numbers beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bigain.core.columns import csv_text
from bigain.core.report_specs import ReportSpec
from bigain.core.rounding import rounded
from bigain.methods.ids import method_of
from bigain.reporting import names
from bigain.reporting.claims import ClaimsFile, read_claims_file
from bigain.reporting.collected import CellScores
from bigain.reporting.comparisons import Comparison
from bigain.reporting.evidence import CONTRADICTED, EQUIVALENT, SUPPORTED, UNDECIDED
from bigain.reporting.numbers import Value
from bigain.reporting.printed_claims import DISCORDANCE, Discordance, PrintedNumbers
from bigain.reporting.rendering import write_table
from bigain.reporting.study_numbers import StudyNumbers
from bigain.reporting.tables import arm_columns
from bigain.reporting.verdicts import Lead, Verdict, judge_all, leads

STUDY, PAPER = "study", "paper"
COUNTED = (SUPPORTED, CONTRADICTED, EQUIVALENT, UNDECIDED)
CLAIMED = {  # of the first method, for print
    "better": "better",
    "grows": "lead grows",
    "close": "differs by less than {}",
    "fails": "loses more than {}",
    "stable": "loses less than {}",
}


def write_claims(cells: list[CellScores], data: Path, spec: ReportSpec, tex: Path, csv: Path, html: Path) -> None:
    """Judge every claim on a study's cells and on the printed numbers, and write the verdicts in three formats."""
    file = read_claims_file(data)
    study = StudyNumbers(cells, spec["backbones"])
    verdicts = judge_all(file, study)
    averaged = {verdict.claim.name: leads(verdict, study) for verdict in verdicts}
    printed = judge_all(file, PrintedNumbers(Discordance(cells, spec["backbones"])))
    rows = [row for verdict in verdicts for row in claim_rows(STUDY, verdict, averaged[verdict.claim.name])]
    rows += [row for verdict in printed for row in claim_rows(PAPER, verdict, [])]
    context = {
        "spec": spec,
        "margins": margins_in_words(file),
        "discordance": DISCORDANCE,
        "verdicts": [
            _printed_verdict(verdict, averaged[verdict.claim.name]) | {"paper": _printed_verdict(of_paper, [])}
            for verdict, of_paper in zip(verdicts, printed, strict=True)
        ],
    }
    write_table("claims", context, csv_text("claims", rows), tex, csv, html)


def claim_rows(source: str, verdict: Verdict, averaged: Sequence[Lead]) -> list[dict[str, Any]]:
    """Return a row per comparison of a claim and per mean lead, or a row without either."""
    claim: dict[str, Any] = {"claim": verdict.claim.name, "source": source, "verdict": verdict.verdict}
    claim |= {"says": verdict.claim.says, "p_claim": verdict.p, "q_claim": verdict.q}
    rows = [claim | _comparison_row(comparison) for comparison in verdict.comparisons]
    rows += [claim | _lead_row(lead) for lead in averaged]
    return rows or [claim]


def _comparison_row(comparison: Comparison) -> dict[str, Any]:
    cell, widest, evidence = comparison.cell, comparison.widest, comparison.evidence
    low, high = comparison.detectable or (None, None)
    return {
        "row": "comparison",
        "claimed": comparison.claimed,
        "backbone": cell.backbone,
        "dataset": cell.dataset,
        "metric": cell.metric,
        **arm_columns(cell.method, comparison.strengths[0]),
        "grown_to": comparison.strengths[-1] if len(comparison.strengths) > 1 else None,
        "than": comparison.than.method,
        "than_strength": comparison.than.strength,
        "value": comparison.value,
        **({} if widest is None else {"low": widest.low, "high": widest.high, "n": widest.n}),
        "margin": comparison.margin,
        **({} if evidence is None else _p_values(evidence.supports, evidence.contradicts, evidence.equivalent)),
        "detectable": low,
        "detectable_at_worst": high,
        "outcome": comparison.verdict,
        "reason": comparison.measured.reason or None,
    }


def _p_values(supports: float, contradicts: float, equivalent: float) -> dict[str, float]:
    return {"p": supports, "p_against": contradicts, "p_equivalent": equivalent}


def _lead_row(lead: Lead) -> dict[str, Any]:
    cell, difference = lead.cell, lead.difference
    return {
        "row": "mean lead",
        "backbone": cell.backbone,
        "dataset": cell.dataset,
        "metric": cell.metric,
        **arm_columns(cell.method, None),
        "value": difference.value,
        "low": difference.low,
        "high": difference.high,
        "n": difference.n,
        "p": difference.p_above(0),
        "detectable": difference.detectable,
        "detectable_at_worst": difference.detectable,
    }


def margins_in_words(file: ClaimsFile) -> str:
    """Return the margins of equivalence, for print."""
    parts = []
    for metric, margin in file.margins.items():
        if metric == "distance":
            parts.append(f"{100 * margin:g}% of the uncompressed model's distance")
        else:
            name = names.METRICS[metric].short.split(",")[0]
            parts.append(f"{margin:g} point{'' if margin == 1 else 's'} of {name}")
    return " or ".join(parts)


def _printed_verdict(verdict: Verdict, averaged: Iterable[Lead]) -> dict[str, Any]:
    """Return a verdict for print."""
    return {
        "says": verdict.claim.says,
        "control": verdict.claim.control,
        "kind": verdict.verdict.replace(" ", "-"),
        "verdict": verdict.says,
        "counts": verdict.counts,
        "short_counts": "/".join(str(verdict.count(kind)) for kind in COUNTED),
        "total": len(verdict.comparisons),
        "p": verdict.p,
        "q": verdict.q,
        "leads": [_printed_lead(lead) for lead in averaged],
        "detectable": detectable_in_words(verdict.comparisons),
        "rows": [_printed_comparison(comparison) for comparison in verdict.comparisons],
    }


def _printed_lead(lead: Lead) -> str:
    difference = lead.difference
    value, low, high = (rounded(x, 1, signed=True) for x in (difference.value, difference.low, difference.high))
    return f"{value} ({low} to {high}), {_place(lead.cell)}, over {lead.count}"


def detectable_in_words(comparisons: Iterable[Comparison]) -> str:
    """Return the smallest differences that comparisons could have shown: a range of points, and one of distances."""
    ranges: dict[str, list[float]] = {}
    for comparison in comparisons:
        unit = names.METRICS[comparison.cell.metric].short if comparison.cell.metric in names.DISTANCES else "points"
        ranges.setdefault(unit, []).extend(comparison.detectable or ())
    return "; ".join(_range(values, unit) for unit, values in ranges.items() if values)


def _range(values: list[float], unit: str) -> str:
    """Return a range; an infinite value stands for too few images to show any difference."""
    finite = [value for value in values if math.isfinite(value)]
    ends = dict.fromkeys(rounded(value, 1) for value in (min(finite), max(finite))) if finite else {}
    shown = [f"{' to '.join(ends)} {unit}"] if finite else []
    return " or ".join([*shown, *(["no difference"] if len(finite) < len(values) else [])])


def _place(cell: Any) -> str:
    return f"{cell.backbone}, {cell.dataset}, {names.METRICS[cell.metric].label}"


def _printed_comparison(comparison: Comparison) -> dict[str, Any]:
    cell, than, widest = comparison.cell, comparison.than, comparison.widest
    unit = "" if cell.metric in names.DISTANCES else " points"
    margin = "" if comparison.margin is None else f"{comparison.margin:.3g}{unit}"
    than_strength = names.strength(method_of(than.method).strength_kind, than.strength)
    other = "" if than.strength in (None, cell.strength) else f" {than_strength}"
    return {
        "where": f"{_place(cell)}, {comparison.strength_label}",
        "compared": f"{method_of(cell.method).label} with {method_of(than.method).label}{other}",
        "claimed": CLAIMED[comparison.claimed].format(margin),
        "difference": Value(comparison.value, *((None, None) if widest is None else (widest.low, widest.high))),
        "n": None if widest is None else widest.n,
        "p": None if comparison.evidence is None else comparison.evidence.supports,
        "detectable": detectable_in_words([comparison]),
        "verdict": comparison.verdict + (f": {comparison.measured.reason}" if comparison.measured.reason else ""),
    }
