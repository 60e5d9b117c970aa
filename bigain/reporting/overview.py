"""Table 1: every method at every strength, by the operations it saves, with what it recognises and generates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from bigain.core.files import write_text
from bigain.methods.ids import method_of
from bigain.methods.presets import METHODS
from bigain.reporting import names
from bigain.reporting.tables import Value, environments, over_seeds, templates


def build(results: pd.DataFrame, efficiency: pd.DataFrame) -> list[dict[str, Any]]:
    """A group a backbone: its `columns` (data set, metric) and `rows`, each with label, strength, saved percent and a
    Value a column, averaged over seeds; rows by what they save."""
    groups = []
    for backbone, arms in efficiency.groupby("backbone", sort=False):
        mine = results[results["backbone"] == backbone]
        found = mine[mine["metric"].isin(names.METRICS)][["dataset", "metric"]].drop_duplicates()
        columns = sorted(found.itertuples(index=False, name=None), key=lambda c: list(names.METRICS).index(c[1]))
        rows = [_row(arm, mine, columns) for arm in arms.sort_values("saved_percent").to_dict("records")]
        groups.append({"backbone": backbone, "columns": columns, "rows": rows})
    return groups


def _row(arm: dict[str, Any], results: pd.DataFrame, columns: list[tuple[str, str]]) -> dict[str, Any]:
    method = method_of(arm["method"])
    full = pd.isna(arm["strength"])
    same = results["strength"].isna() if full else results["strength"] == arm["strength"]
    mine = results[(results["method"] == arm["method"]) & same]
    return {
        "label": method.label,
        "preset": method.id in METHODS,
        "strength": "" if full else names.strength(method.strength_kind, arm["strength"]),
        "saved": arm["saved_percent"],
        "values": [_value(mine, *column) for column in columns],
    }


def _value(mine: pd.DataFrame, dataset: str, metric: str) -> Value:
    found = mine[(mine["dataset"] == dataset) & (mine["metric"] == metric)]
    return Value(None) if found.empty else over_seeds(found)


def write_overview(results: Path, measured: list[Path], spec: dict[str, Any], tex: Path, csv: Path, html: Path) -> None:
    """Join results and measurements and render them in three forms."""
    efficiency = pd.concat([pd.read_csv(file) for file in measured], ignore_index=True)
    frame = names.shown(pd.read_parquet(results), spec)
    groups = build(frame, efficiency)
    context = {"groups": groups, "spec": spec, "metrics": names.METRICS, "short": names.SHORT}
    context["environments"] = environments(frame)
    write_text(csv, _csv(groups))
    write_text(tex, templates().get_template("overview.tex.j2").render(context))
    write_text(html, templates().get_template("overview.html.j2").render(context))


def _csv(groups: list[dict[str, Any]]) -> str:
    lines = [
        {
            "backbone": group["backbone"],
            "row": row["label"],
            "strength": row["strength"],
            "saved_percent": row["saved"],
            "dataset": dataset,
            "metric": metric,
            "value": value.value,
            "half_width_95": value.half_width,
        }
        for group in groups
        for row in group["rows"]
        for (dataset, metric), value in zip(group["columns"], row["values"], strict=True)
    ]
    return pd.DataFrame(lines).to_csv(index=False, float_format="%.4f", lineterminator="\n")
