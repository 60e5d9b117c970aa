"""Tables as data: which cells, in which rows and columns; rendered to LaTeX, CSV and HTML by templates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from bigain.files import write_text
from bigain.reporting import names
from bigain.reporting.plan import read_tables
from bigain.variants import method_of

TEMPLATES = Path(__file__).parents[2] / "reports" / "templates"


@dataclass(frozen=True)
class Value:
    """One printed number with the half width of its interval, or a missing one."""

    value: float | None
    half_width: float | None = None
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One method's numbers over the strengths; `kind` is baseline, method or delta."""

    label: str
    kind: str
    values: list[Value]


@dataclass(frozen=True)
class Group:
    """The rows of one backbone, data set and metric."""

    backbone: str
    dataset: str
    metric: str
    rows: list[Row]

    @property
    def direction(self) -> str:
        """Which is better: `higher` or `lower`."""
        return names.METRICS[self.metric][1]

    @property
    def title(self) -> str:
        """Backbone, data set and metric, for print."""
        return f"{self.backbone}, {self.dataset}: {names.METRICS[self.metric][0]}"


def build(results: pd.DataFrame, table: dict[str, Any]) -> tuple[list[float], list[Group]]:
    """The strengths (columns) and groups (rows) of a table from tidy results, averaged over seeds."""
    kind = table["strength_kind"]
    mine = results[results["method"].isin(table["methods"]) & (results["strength_kind"] == kind)]
    mine = mine[mine["backbone"].isin(table["backbones"])]
    strengths = sorted(mine["strength"].unique().tolist())
    groups = []
    for (backbone, dataset), part in mine.groupby(["backbone", "dataset"], sort=False):
        for metric in names.METRICS:
            if (part["metric"] == metric).any():
                groups.append(_group(results, table, strengths, backbone, dataset, metric))
    return strengths, groups


def _group(
    results: pd.DataFrame, table: dict[str, Any], strengths: list[float], backbone: str, dataset: str, metric: str
) -> Group:
    where = (results["backbone"] == backbone) & (results["dataset"] == dataset) & (results["metric"] == metric)
    here = results[where]

    def at(method: str, strength: float | None) -> Value:
        chosen = here["method"] == method
        chosen &= here["strength"].isna() if strength is None else here["strength"] == strength
        if not chosen.any():
            return Value(None)
        found = here[chosen][["value", "low", "high"]].mean()  # over seeds
        return Value(float(found["value"]), float(found["high"] - found["low"]) / 2)

    grid = {method: [at(method, strength) for strength in strengths] for method in table["methods"]}
    better = max if names.METRICS[metric][1] == "higher" else min
    for column in range(len(strengths)):
        present = [row[column].value for row in grid.values() if row[column].value is not None]
        for row in grid.values():
            if present and row[column].value == better(present):
                row[column] = Value(row[column].value, row[column].half_width, best=True)
    rows = [Row(method_of(b).label, "baseline", [at(b, None)] * len(strengths)) for b in table["baselines"]]
    rows += [Row(method_of(method).label, "method", values) for method, values in grid.items()]
    of, against = table["delta"]["of"], table["delta"]["against"]
    deltas = [_difference(a, b) for a, b in zip(grid[of], grid[against], strict=True)]
    rows.append(Row(f"{method_of(of).label} - {method_of(against).label}", "delta", deltas))
    return Group(backbone, dataset, metric, rows)


def _difference(a: Value, b: Value) -> Value:
    return Value(None) if a.value is None or b.value is None else Value(a.value - b.value)


def to_csv(strengths: list[float], groups: list[Group]) -> str:
    """The table's numbers, a line a row and strength."""
    lines = [
        {
            "backbone": group.backbone,
            "dataset": group.dataset,
            "metric": group.metric,
            "row": row.label,
            "strength": strength,
            "value": value.value,
            "half_width_95": value.half_width,
        }
        for group in groups
        for row in group.rows
        for strength, value in zip(strengths, row.values, strict=True)
    ]
    return pd.DataFrame(lines).to_csv(index=False, float_format="%.4f", lineterminator="\n")


def templates() -> jinja2.Environment:
    """The report's templates, strict about names."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(latex=names.latex, html=names.html, fixed=names.fixed)
    environment.globals.update(strength=names.strength, missing=names.MISSING, kinds=names.STRENGTHS)
    return environment


def write_table_files(
    results: Path, tables: Path, name: str, spec: dict[str, Any], tex: Path, csv: Path, html: Path
) -> None:
    """Write one table of the study in three forms."""
    table = read_tables(tables)[name]
    table["backbones"] = [b for b, family in spec["backbones"].items() if family in table["families"]]
    strengths, groups = build(names.shown(pd.read_parquet(results), spec), table)
    context = {"name": name, "table": table, "strengths": strengths, "groups": groups, "spec": spec}
    write_text(tex, templates().get_template("table.tex.j2").render(context))
    write_text(html, templates().get_template("table.html.j2").render(context))
    write_text(csv, to_csv(strengths, groups))
