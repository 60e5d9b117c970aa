"""Compare a study's numbers with the paper's: both, their difference, and whether the paper's lies in our interval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from bigain.core.columns import csv_text
from bigain.core.report_specs import ReportSpec
from bigain.methods.ids import method_of
from bigain.reporting import names
from bigain.reporting.frames import CellMetric, groups, optional, records
from bigain.reporting.numbers import Value
from bigain.reporting.paper_values import contradictions, values
from bigain.reporting.rendering import write_table
from bigain.reporting.tables import arm_rows

COLUMNS = ("table", "backbone", "dataset", "task", "metric", "method", "strength")
COUNTED = {"gflops": ("gflops", 1), "saved_percent": ("saved_percent", 1), "keys_saved_percent": ("sparsity", 100)}


def write_comparison(
    results: pd.DataFrame, measured: pd.DataFrame, spec: ReportSpec, tex: Path, csv: Path, html: Path
) -> None:
    """Write the comparison of every printed number in three formats; our number is a dash where it was not run."""
    comparison = compare(results, measured)
    context = {
        "spec": spec,
        "summary": summarize(comparison),
        "rows": [_printed_row(row) for row in records(comparison)],
    }
    write_table("beside", context, _csv(comparison), tex, csv, html)


def compare(results: pd.DataFrame, efficiency: pd.DataFrame) -> pd.DataFrame:
    """Join the printed numbers with a study's, averaged over seeds; our columns are missing where a cell was not run.

    `efficiency` holds what the study counted (`backbone`, `method`, `strength`, and the columns of `COUNTED`), which no
    data set changes. The paper's mAP is compared with the one that its released code computes. `inside` says whether
    the printed number lies in our 95% interval; it is missing where we have no interval.
    """
    ours = results.assign(metric=results["metric"].replace({"map": "map_clean", "map_released": "map"}))
    keys = [column for column in COLUMNS if column != "table"]
    ours = ours.groupby(keys, dropna=False)[["value", "low", "high"]].mean().reset_index()
    counted = [
        efficiency.assign(metric=metric, dataset=None, task="efficiency", value=scale * efficiency[column])
        for metric, (column, scale) in COUNTED.items()
    ]
    ours = pd.concat([ours, *(frame[[*keys, "value"]] for frame in counted)], ignore_index=True)
    printed = _with_contradictions(values())
    of_dataset = printed.assign(dataset=printed["dataset"].mask(printed["task"] == "efficiency"))
    printed["key"], ours["key"] = _keys(of_dataset, keys), _keys(ours, keys)
    joined = printed.merge(ours[["key", "value", "low", "high"]], on="key", how="left")
    joined["difference"] = joined["value"] - joined["printed"]
    inside = (joined["low"] <= joined["printed"]) & (joined["printed"] <= joined["high"])
    joined["inside"] = inside.astype(object).where(joined["low"].notna())
    return joined[[*COLUMNS, "printed", "value", "low", "high", "difference", "inside", "note"]]


def _with_contradictions(printed: pd.DataFrame) -> pd.DataFrame:
    """Add to the note of a printed number what other tables of the paper print for the same cell."""
    known = contradictions()

    def note(row: dict[str, Any]) -> str:
        cell = CellMetric(row["metric"], row["backbone"], row["dataset"], row["method"], optional(row["strength"]))
        others = [
            f"Table {table} prints {number:.2f}"
            for table, number in known.get(cell, {}).items()
            if number != row["printed"]
        ]
        return "; ".join([*others, *([row["note"]] if isinstance(row["note"], str) else [])])

    notes = [note(row) or None for row in records(printed)]
    return printed.assign(note=pd.Series(notes, index=printed.index, dtype=object))


def _keys(frame: pd.DataFrame, columns: list[str]) -> pd.Series:
    """Return a key per row that can be merged on: the values of the columns, None for every kind of missing value."""
    rows = frame[columns].itertuples(index=False, name=None)
    keys = [tuple(None if pd.isna(value) else value for value in row) for row in rows]
    return pd.Series(keys, index=frame.index, dtype=object)


def _csv(comparison: pd.DataFrame) -> str:
    return csv_text("beside", arm_rows(comparison.rename(columns={"printed": "paper"})))


def summarize(comparison: pd.DataFrame) -> list[dict[str, Any]]:
    """Count, by table and metric, the printed numbers, those that the study has, and those inside our intervals."""
    rows = []
    for (table, metric), printed in groups(comparison, ["table", "metric"]):
        available = printed[printed["value"].notna()]
        rows.append(
            {
                "table": table,
                "metric": names.metric_label(metric),
                "printed": len(printed),
                "available": len(available),
                "inside": sum(inside is True for inside in available["inside"])
                if available["low"].notna().any()
                else None,
                "median_difference": float(available["difference"].median()) if len(available) else None,
            }
        )
    return rows


def _printed_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return one printed number and ours, for print."""
    method = method_of(row["method"])
    return {
        "table": row["table"],
        "where": ", ".join(part for part in (row["backbone"], row["dataset"]) if isinstance(part, str)),
        "metric": names.metric_label(row["metric"]),
        "method": method.label,
        "strength": "" if pd.isna(row["strength"]) else names.strength(method.strength_kind, row["strength"]),
        "printed": row["printed"],
        "ours": Value(optional(row["value"]), optional(row["low"]), optional(row["high"]), printed=row["printed"]),
        "inside": {True: "inside", False: "outside"}.get(row["inside"], names.MISSING),
        "note": row["note"] if isinstance(row["note"], str) else "",
    }
