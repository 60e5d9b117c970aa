"""Table 1: every method at every strength, by the operations it saves, with its recognition and generation scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bigain.core.columns import csv_text
from bigain.core.report_specs import ReportSpec
from bigain.methods.ids import method_of
from bigain.methods.method import Method
from bigain.methods.presets import METHODS
from bigain.reporting import names
from bigain.reporting.bias import bias_note
from bigain.reporting.frames import at_strength, groups, optional, records
from bigain.reporting.numbers import Value
from bigain.reporting.rendering import write_table
from bigain.reporting.tables import arm_columns, environments, number_columns, over_seeds


class Column(NamedTuple):
    """A column of scores."""

    dataset: str
    metric: str


@dataclass(frozen=True)
class OverviewRow:
    """A method at a strength: the percentage of operations it saves, and a score per column."""

    method: Method
    strength: float | None
    saved: float
    scores: list[Value]

    @property
    def is_preset(self) -> bool:
        """True for a preset, False for a variant of one."""
        return self.method.id in METHODS

    @property
    def strength_label(self) -> str:
        """The strength, for print."""
        return names.strength(self.method.strength_kind, self.strength)


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
        method=method,
        strength=strength,
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
        "bias": {o.backbone: bias_note(frame[frame["backbone"] == o.backbone]) for o in overviews},
    }
    write_table("overview", context, _csv(overviews), tex, csv, html)


def _csv(overviews: list[Overview]) -> str:
    """Return all scores as CSV, with the operations saved as a metric without a data set."""
    lines: list[dict[str, Any]] = []
    for overview in overviews:
        for row in overview.rows:
            key = {"backbone": overview.backbone} | arm_columns(row.method.id, row.strength)
            if not pd.isna(row.saved):
                lines.append(key | {"metric": "saved_percent", "value": row.saved})
            lines += [
                key | column._asdict() | number_columns(score)
                for column, score in zip(overview.columns, row.scores, strict=True)
                if score.value is not None
            ]
    return csv_text("table1", lines)
