"""Tables as data: which cells, in which rows and columns (`table_files` writes them)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jinja2
import pandas as pd

from bigain.methods.ids import method_of
from bigain.reporting import names
from bigain.reporting.plan import TEMPLATES


@dataclass(frozen=True)
class Value:
    """One number with the half width of its interval, or a missing one; `spread` is the standard deviation over seeds,
    of which two are needed; `printed` is the paper's own."""

    value: float | None
    half_width: float | None = None
    best: bool = False
    printed: float | None = None
    spread: float | None = None

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's."""
        return None if self.value is None or self.printed is None else self.value - self.printed


@dataclass(frozen=True)
class Row:
    """One method's numbers over the strengths; `kind` is baseline, method or delta, which has no method. `extra` is its
    number in the column that some tables have besides (`EXTRAS`), at the highest strength."""

    label: str
    kind: str
    values: list[Value]
    method: str = ""
    extra: float | None = None


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


EXTRAS = {"gflops": "GFLOPs", "sparsity": "keys saved (%)"}
Printed = dict[tuple, float]  # the paper's numbers by (backbone, data set, metric, method, strength)


def build(results: pd.DataFrame, table: dict[str, Any], printed: Printed) -> tuple[list[float], list[Group]]:
    """The strengths (columns) and groups (rows) of a table from tidy results, averaged over seeds, with the paper's
    numbers where it prints the same cell."""
    kind = table["strength_kind"]
    mine = results[results["method"].isin(table["methods"]) & (results["strength_kind"] == kind)]
    mine = mine[mine["backbone"].isin(table["backbones"])]
    strengths = sorted(mine["strength"].unique().tolist())
    groups = []
    own = set(table["methods"]) - set(table.get("references", ()))
    for (backbone, dataset), part in mine.groupby(["backbone", "dataset"], sort=False):
        if own.isdisjoint(part["method"]):  # only what the table compares with
            continue
        for metric in names.METRICS:
            if (part["metric"] == metric).any():
                groups.append(_group(results, table, printed, strengths, backbone, dataset, metric))
    return strengths, groups


def _group(
    results: pd.DataFrame,
    table: dict[str, Any],
    printed: Printed,
    strengths: list[float],
    backbone: str,
    dataset: str,
    metric: str,
) -> Group:
    where = (results["backbone"] == backbone) & (results["dataset"] == dataset) & (results["metric"] == metric)
    here = results[where]

    def at(method: str, strength: float | None) -> Value:
        chosen = here["method"] == method
        chosen &= here["strength"].isna() if strength is None else here["strength"] == strength
        theirs = printed.get((backbone, dataset, metric, method, strength))
        if not chosen.any():
            return Value(None, printed=theirs)
        return over_seeds(here[chosen], theirs)

    grid = {method: [at(method, strength) for strength in strengths] for method in table["methods"]}
    better = max if names.METRICS[metric][1] == "higher" else min
    for column in range(len(strengths)):
        present = [row[column].value for row in grid.values() if row[column].value is not None]
        for row in grid.values():
            if present and row[column].value == better(present):
                row[column] = replace(row[column], best=True)
    rows = [Row(method_of(b).label, "baseline", [at(b, None)] * len(strengths), b) for b in table["baselines"]]
    rows += [Row(method_of(method).label, "method", values, method) for method, values in grid.items()]
    of, against = table["delta"]["of"], table["delta"]["against"]
    deltas = [_difference(a, b) for a, b in zip(grid[of], grid[against], strict=True)]
    rows.append(Row(f"{method_of(of).label} - {method_of(against).label}", "delta", deltas))
    return Group(backbone, dataset, metric, rows)


def over_seeds(rows: pd.DataFrame, printed: float | None = None) -> Value:
    """A cell's value and half width, means over its seeds, and its spread over them."""
    mean = rows[["value", "low", "high"]].mean()
    spread = float(rows["value"].std(ddof=1)) if len(rows) > 1 else None
    return Value(float(mean["value"]), float(mean["high"] - mean["low"]) / 2, printed=printed, spread=spread)


def with_extra(groups: list[Group], table: dict[str, Any], efficiency: pd.DataFrame) -> list[Group]:
    """The groups with the column that the table asks for: each method's own at its highest measured strength."""
    column = table.get("extra")
    if column is None:
        return groups
    scale = 100 if column == "sparsity" else 1
    kept = efficiency.sort_values("strength").groupby(["backbone", "method"])[column].last() * scale

    def own(group: Group, row: Row) -> Row:
        value = kept.get((group.backbone, row.method), float("nan"))
        return replace(row, extra=None if pd.isna(value) else float(value))

    return [replace(group, rows=[own(group, row) for row in group.rows]) for group in groups]


def _difference(a: Value, b: Value) -> Value:
    printed = None if a.printed is None or b.printed is None else a.printed - b.printed
    return Value(None if a.value is None or b.value is None else a.value - b.value, printed=printed)


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
            "sd_over_seeds": value.spread,
            "paper": value.printed,
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


def environments(results: pd.DataFrame) -> list[str]:
    """The environments that numbers come from. More than one is said: numbers may differ for that alone."""
    return sorted(results["environment"].unique())
