"""The numbers of a table: rows of methods over strengths, in groups by backbone, data set and metric."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pandas as pd

from bigain.core.columns import csv_text
from bigain.methods.ids import method_of
from bigain.reporting import names
from bigain.reporting.contents import TableEntry
from bigain.reporting.frames import CellMetric, by_arm, groups, optional, records
from bigain.reporting.numbers import Value, difference
from bigain.reporting.scores import Scores

Printed = dict[CellMetric, float]  # numbers that the paper prints


class Extra(NamedTuple):
    """A column taken from the measurements: its heading, its name among the printed numbers, and its unit's scale."""

    heading: str
    printed: str
    scale: float = 1


EXTRAS = {"gflops": Extra("GFLOPs", "gflops"), "sparsity": Extra("keys saved (%)", "keys_saved_percent", 100)}


@dataclass(frozen=True)
class Row:
    """A method's numbers over the strengths; `kind` is baseline, method, or delta, its numbers minus `against`'s.

    `extra` is the method's number in the table's extra column.
    """

    label: str
    kind: str
    values: list[Value]
    method: str
    against: str = ""
    extra: Value | None = None


@dataclass(frozen=True)
class Group:
    """The rows of one backbone, data set and metric."""

    backbone: str
    dataset: str
    metric: str
    rows: list[Row]

    @property
    def direction(self) -> str:
        """Return which direction is better, `higher` or `lower`."""
        return names.METRICS[self.metric].better

    @property
    def title(self) -> str:
        """Backbone, data set and metric, for print."""
        return f"{self.backbone}, {self.dataset}: {names.METRICS[self.metric].label}"


def build(
    results: pd.DataFrame, scores: Scores, table: TableEntry, backbones: Sequence[str], printed: Printed
) -> tuple[list[float], list[Group]]:
    """Return the strengths (columns) and the groups of a table, averaged over seeds, with the paper's numbers."""
    shown = results[
        results["method"].isin(table.methods)
        & (results["strength_kind"] == table.strength_kind)
        & results["backbone"].isin(backbones)
    ]
    strengths: list[float] = sorted(shown["strength"].unique().tolist())
    built = []
    for (backbone, dataset), rows in groups(shown, ["backbone", "dataset"]):
        if set(rows["method"]).isdisjoint(table.main_methods):
            continue
        cells = results[(results["backbone"] == backbone) & (results["dataset"] == dataset)]
        for metric in names.METRICS:
            if (rows["metric"] == metric).any():
                numbers = cells[cells["metric"] == metric]
                built.append(Group(backbone, dataset, metric, _rows(numbers, scores, table, strengths, printed)))
    return strengths, built


def _rows(
    numbers: pd.DataFrame, scores: Scores, table: TableEntry, strengths: list[float], printed: Printed
) -> list[Row]:
    """Return the rows of one metric: baselines, methods, and the difference of two of them."""
    metric, backbone, dataset = numbers[["metric", "backbone", "dataset"]].iloc[0]
    arms = by_arm(numbers)

    def cell(method: str, strength: float | None) -> CellMetric:
        return CellMetric(metric, backbone, dataset, method, strength)

    def cells(method: str, strength: float | None) -> pd.DataFrame:
        return arms.get((method, strength), numbers.iloc[:0])

    def value(method: str, strength: float | None) -> Value:
        return over_seeds(cells(method, strength), printed.get(cell(method, strength)))

    def equally_many(strength: float) -> bool:
        return set(cells(of, strength)["n"]) == set(cells(against, strength)["n"])

    def column(strength: float) -> dict[CellMetric, Value]:
        return _with_best({cell(method, strength): value(method, strength) for method in table.methods}, scores)

    columns = [column(strength) for strength in strengths]
    rows = [
        Row(method_of(method).label, "baseline", [value(method, None)] * len(strengths), method)
        for method in table.baselines
    ]
    for method in table.methods:
        values = [numbers[cell(method, strength)] for strength, numbers in zip(strengths, columns, strict=True)]
        rows.append(Row(method_of(method).label, "method", values, method))
    of, against = table.delta
    deltas = [
        _delta(cell(of, strength), cell(against, strength), numbers, scores, equally_many(strength))
        for strength, numbers in zip(strengths, columns, strict=True)
    ]
    return [*rows, Row(f"{method_of(of).label} - {method_of(against).label}", "delta", deltas, of, against)]


def _delta(
    ours: CellMetric, theirs: CellMetric, numbers: dict[CellMetric, Value], scores: Scores, equally_many: bool
) -> Value:
    """Return our number minus theirs, with its paired interval on common images if there is one.

    Otherwise it is missing unless both are of `equally_many` images: distances depend on how many are generated.
    """
    printed = difference(numbers[ours].printed, numbers[theirs].printed)
    if scores.comparable(ours, theirs):
        return Value(*change(scores, ours, theirs), printed=printed)
    return Value(difference(numbers[ours].value, numbers[theirs].value) if equally_many else None, printed=printed)


def change(scores: Scores, ours: CellMetric, theirs: CellMetric) -> tuple[float, float, float]:
    """Return our number minus theirs and its paired 95% interval: positive is better only where higher is."""
    gain = scores.improvement(ours, theirs)
    if names.METRICS[ours.metric].better == "higher":
        return gain.value, gain.low, gain.high
    return -gain.value, -gain.high, -gain.low


def _with_best(column: dict[CellMetric, Value], scores: Scores) -> dict[CellMetric, Value]:
    """Mark the best number of a column if it is clear: if it is significantly better (paired, 5%) than every other."""
    run = {cell: value.value for cell, value in column.items() if value.value is not None}
    if len(run) < 2:
        return column
    choose = max if names.METRICS[next(iter(run)).metric].better == "higher" else min
    best = choose(run, key=run.__getitem__)
    if all(scores.is_better(best, other) for other in run if other != best):
        return column | {best: replace(column[best], best=True)}
    return column


def over_seeds(cells: pd.DataFrame, printed: float | None = None) -> Value:
    """Average a cell's value and interval over its seeds; no rows give a missing value."""
    if cells.empty:
        return Value(None, printed=printed)
    value, low, high = (float(cells[name].mean()) for name in ("value", "low", "high"))
    spread = float(cells["value"].std(ddof=1)) if len(cells) > 1 else None
    return Value(value, low, high, printed=printed, spread=spread, seeds=len(cells))


def with_extra_column(
    groups: list[Group], table: TableEntry, efficiency: pd.DataFrame, printed: Printed
) -> list[Group]:
    """Fill the table's extra column, if it has one: numbers at the highest strength that all its methods have."""
    if table.extra is None:
        return groups
    extra = EXTRAS[table.extra]
    numbers = {
        (row["backbone"], row["method"], optional(row["strength"])): float(row[table.extra]) * extra.scale
        for row in records(efficiency.dropna(subset=[table.extra]))
    }

    def value(group: Group, row: Row) -> Value | None:
        strength = None if row.kind == "baseline" else _highest_common_strength(table.methods, group.backbone, numbers)
        if row.kind == "delta" or (group.backbone, row.method, strength) not in numbers:
            return None
        key = CellMetric(extra.printed, group.backbone, group.dataset, row.method, strength)
        return Value(numbers[group.backbone, row.method, strength], printed=printed.get(key))

    def fill(group: Group) -> Group:
        return replace(group, rows=[replace(row, extra=value(group, row)) for row in group.rows])

    return [fill(group) for group in groups]


def _highest_common_strength(
    methods: list[str], backbone: str, measured: Collection[tuple[str, str, float | None]]
) -> float | None:
    """Return the highest strength at which all methods that were measured on a backbone were measured."""
    strengths: dict[str, set[float]] = {}
    for of, method, strength in measured:
        if of == backbone and method in methods and strength is not None:
            strengths.setdefault(method, set()).add(strength)
    return max(set.intersection(*strengths.values()), default=None) if strengths else None


def to_csv(strengths: list[float], groups: list[Group]) -> str:
    """Return the table's numbers as CSV: a line per method, strength and metric that was run or printed.

    A baseline has one line, without a strength.
    """
    lines = []
    for group in groups:
        for row in group.rows:
            key = {"backbone": group.backbone, "dataset": group.dataset, "metric": group.metric, "kind": row.kind}
            lines += [
                key
                | arm_columns(row.method, strength)
                | number_columns(value)
                | {"paper": value.printed}
                | _against(row)
                for strength, value in _by_strength(row, strengths)
                if value.value is not None or value.printed is not None
            ]
    return csv_text("table", lines)


def _against(row: Row) -> dict[str, Any]:
    """Return the columns in which a difference is unlike other numbers."""
    return {"against": row.against, "seeds": None} if row.against else {}


def _by_strength(row: Row, strengths: list[float]) -> list[tuple[float | None, Value]]:
    """Return the values of a row with their strengths; of a baseline, a single value without one."""
    if row.kind == "baseline":
        return [(None, value) for value in row.values[:1]]
    return list(zip(strengths, row.values, strict=True))


def arm_columns(method: str, strength: float | None) -> dict[str, str | float | None]:
    """Return the columns of a CSV file that identify a method at a strength."""
    known = method_of(method)
    return {"method": method, "label": known.label, "strength": strength, "strength_kind": known.strength_kind}


def arm_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame's rows as rows of a CSV file, each with the columns of its method at its strength."""
    return [row | arm_columns(row["method"], row["strength"]) for row in records(frame)]


def number_columns(value: Value) -> dict[str, float | int | None]:
    """Return a value, its interval and its seeds as columns of a CSV file."""
    interval = {"value": value.value, "low": value.low, "high": value.high}
    return interval | {"sd_over_seeds": value.spread, "seeds": value.seeds}


def environments(results: pd.DataFrame) -> list[str]:
    """Return the software and hardware environments that the numbers come from; tables say so if there are several."""
    return sorted(results["environment"].unique())
