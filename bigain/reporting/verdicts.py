"""What the paper says against what was found, as pages and tables: its claims, its numbers, its inconsistencies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from bigain.core.files import write_text
from bigain.methods.ids import method_of
from bigain.reporting import audit, claims, names, published
from bigain.reporting.tables import templates


def write_claims(metrics: list[Path], data: Path, spec: dict[str, Any], tex: Path, csv: Path, html: Path) -> None:
    """Every claim's verdict on the study, in three forms."""
    verdicts = claims.judge_all(metrics, data, spec["backbones"])
    context = {"spec": spec, "verdicts": [_verdict(one) for one in verdicts]}
    write_text(csv, claims.to_frame(verdicts).to_csv(index=False, float_format="%.5f", lineterminator="\n"))
    write_text(html, templates().get_template("claims.html.j2").render(context))
    write_text(tex, templates().get_template("claims.tex.j2").render(context))


def _verdict(one: claims.Verdict) -> dict[str, Any]:
    favours = [comparison.favours for comparison in one.comparisons]
    rows = [
        {
            "where": f"{row.backbone}, {row.dataset}, {names.METRICS[row.metric][0]}, {row.strength}",
            "than": method_of(row.than).label,
            "value": row.value,
            "low": row.low,
            "high": row.high,
            "p": row.p,
            "favours": {True: "for", False: "against", None: "too close"}[row.favours],
        }
        for row in one.comparisons
    ]
    return {
        "says": one.says,
        "control": one.control,
        "verdict": one.verdict,
        "leads": sum(comparison.value > 0 for comparison in one.comparisons),
        "clearly_for": favours.count(True),
        "clearly_against": favours.count(False),
        "count": len(favours),
        "printed": one.printed,
        "rows": rows,
    }


def write_beside(results: Path, measured: list[Path], spec: dict[str, Any], tex: Path, csv: Path, html: Path) -> None:
    """The paper's printed numbers beside the study's, in three forms; all of them, ours as a dash where not run."""
    efficiency = pd.concat([pd.read_csv(file) for file in measured], ignore_index=True)
    joined = published.beside(pd.read_parquet(results), efficiency)
    context = {
        "spec": spec,
        "summary": published.summary(joined),
        "rows": [_beside(row) for row in joined.itertuples()],
    }
    write_text(csv, joined.to_csv(index=False, float_format="%.4f", lineterminator="\n"))
    write_text(html, templates().get_template("beside.html.j2").render(context))
    write_text(tex, templates().get_template("beside.tex.j2").render(context))


def _beside(row: Any) -> dict[str, Any]:
    method = method_of(row.method)
    return {
        "table": row.table,
        "where": ", ".join(part for part in (row.backbone, row.dataset) if isinstance(part, str)),
        "metric": names.METRICS.get(row.metric, (row.metric, ""))[0],
        "method": method.label,
        "strength": "" if pd.isna(row.strength) else names.strength(method.strength_kind, row.strength),
        "printed": row.printed,
        "value": row.value,
        "half_width": (row.high - row.low) / 2,
        "difference": row.difference,
        "inside": {True: "inside", False: "outside"}.get(row.inside, names.MISSING),
        "note": row.note if isinstance(row.note, str) else "",
    }


def write_audit(tex: Path, csv: Path, html: Path) -> None:
    """The paper's own inconsistencies, in three forms."""
    findings = audit.audit()
    context = {"findings": findings, "wrong": sum(not finding.agrees for finding in findings)}
    write_text(csv, audit.to_frame(findings).to_csv(index=False, lineterminator="\n"))
    write_text(html, templates().get_template("audit.html.j2").render(context))
    write_text(tex, templates().get_template("audit.tex.j2").render(context))
