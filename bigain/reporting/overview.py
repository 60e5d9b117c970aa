"""Table 1: every method at every strength, by the operations it saves, with its recognition and generation scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bigain.core.specs import ReportSpec
from bigain.methods.ids import method_of
from bigain.methods.presets import METHODS
from bigain.reporting import names
from bigain.reporting.frames import at_strength, groups, optional, records
from bigain.reporting.rendering import write_table
from bigain.reporting.tables import Value, environments, over_seeds


class Column(NamedTuple):
    """A column of scores."""

    dataset: str
    metric: str


@dataclass(frozen=True)
class OverviewRow:
    """A method at a strength: the percentage of operations it saves, and a score per column."""

    label: str
    preset: bool
    strength: str
    saved: float
    scores: list[Value]


@dataclass(frozen=True)
class Overview:
    """Table 1 of one backbone, with rows in the order of the operations saved."""

    backbone: str
    columns: list[Column]
    rows: list[OverviewRow]


def build(results: pd.DataFrame, efficiency: pd.DataFrame) -> list[Overview]:
    """Return Table 1 of every backbone that was measured, averaged over seeds."""
    order = list(names.METRICS)
    overviews = []
    for (backbone,), arms in groups(efficiency, ["backbone"]):
        scores = results[(results["backbone"] == backbone) & results["metric"].isin(order)]
        columns = [Column(dataset, metric) for (dataset, metric), _ in groups(scores, ["dataset", "metric"])]
        columns.sort(key=lambda column: order.index(column.metric))
        rows = [_row(arm, scores, columns) for arm in records(arms.sort_values("saved_percent"))]
        overviews.append(Overview(backbone, columns, rows))
    return overviews


def _row(arm: dict[str, Any], scores: pd.DataFrame, columns: list[Column]) -> OverviewRow:
    method, strength = method_of(arm["method"]), optional(arm["strength"])
    cells = at_strength(scores[scores["method"] == arm["method"]], strength)
    return OverviewRow(
        label=method.label,
        preset=method.id in METHODS,
        strength=names.strength(method.strength_kind, strength),
        saved=arm["saved_percent"],
        scores=[
            over_seeds(cells[(cells["dataset"] == column.dataset) & (cells["metric"] == column.metric)])
            for column in columns
        ],
    )


def write_overview(
    results: pd.DataFrame, measured: pd.DataFrame, spec: ReportSpec, tex: Path, csv: Path, html: Path
) -> None:
    """Join results and measurements and write Table 1 in three formats."""
    frame = names.without_hidden_maps(results, spec)
    overviews = build(frame, measured)
    context = {
        "overviews": overviews,
        "spec": spec,
        "metrics": names.METRICS,
        "environments": environments(frame),
    }
    write_table("overview", context, _csv(overviews), tex, csv, html)


def _csv(overviews: list[Overview]) -> str:
    lines = [
        {
            "backbone": overview.backbone,
            "row": row.label,
            "strength": row.strength,
            "saved_percent": row.saved,
            "dataset": column.dataset,
            "metric": column.metric,
            "value": score.value,
            "half_width_95": score.half_width,
        }
        for overview in overviews
        for row in overview.rows
        for column, score in zip(overview.columns, row.scores, strict=True)
    ]
    return pd.DataFrame(lines).to_csv(index=False, float_format="%.4f", lineterminator="\n")
