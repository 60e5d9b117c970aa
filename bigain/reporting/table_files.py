"""A table as LaTeX in the paper's grouping of rows and columns, as HTML a group a metric, and as CSV."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bigain.core.files import write_text
from bigain.methods.ids import method_of
from bigain.reporting import names
from bigain.reporting.plan import read_table_entry
from bigain.reporting.published import printed_by_cell
from bigain.reporting.tables import EXTRAS, Group, Row, Value, build, environments, templates, to_csv, with_extra

OF_RECOGNITION = ("acc@1", "map", "map_released", "map_macro")
INLINE = 8  # numbers a line, up to which intervals stand beside them and not below


@dataclass(frozen=True)
class Side:
    """Columns under one heading."""

    title: str
    heads: list[str]


@dataclass(frozen=True)
class Line:
    """A row as it is printed; None leaves a cell empty, a Value without a number is a dash."""

    label: str
    kind: str
    extra: float | None
    cells: list[Value | None]


@dataclass(frozen=True)
class Block:
    """The lines of a data set (and metric) under its name."""

    title: str
    lines: list[Line]


@dataclass(frozen=True)
class Layout:
    """A table as it is printed: sides of columns, blocks of lines."""

    sides: list[Side]
    blocks: list[Block]

    @property
    def columns(self) -> int:
        """Columns of numbers."""
        return sum(len(side.heads) for side in self.sides)

    @property
    def inline(self) -> bool:
        """Whether there is room for an interval beside its number."""
        return self.columns <= INLINE


def paired(table: dict[str, Any], strengths: list[float], groups: list[Group]) -> Layout:
    """As the paper's Tables 2 to 5: recognition over the strengths at the left, generation at the right, each after the
    uncompressed model; a block a data set. Other metrics stand in the CSV file and on the page."""
    recognition = [group for group in groups if group.metric in OF_RECOGNITION]
    generation = {(g.backbone, g.dataset): g for g in groups if g.metric in names.DISTANCES}
    heads = ["none", *(names.strength(table["strength_kind"], s) for s in strengths)]
    sides = [Side("Recognition $\\uparrow$", heads)] if recognition else []
    if generation:
        distance = names.SHORT[next(iter(generation.values())).metric]
        sides.append(Side(f"Generation ({distance}) $\\downarrow$", heads))
    blocks = []
    for place in dict.fromkeys((group.backbone, group.dataset) for group in groups):
        own = [group for group in recognition if (group.backbone, group.dataset) == place]
        right = generation.get(place)
        lines = []
        for group in own or ([right] if right else []):
            tag = f"{names.SHORT[group.metric]} " if len(own) > 1 else ""
            lines += _lines(tag, group if own else None, right, bool(recognition), bool(generation))
        only = f", {names.METRICS[own[0].metric][0]}" if len(own) == 1 else ""
        blocks.append(Block(f"{place[0]}, {place[1]}{only}", lines))
    return Layout(sides, blocks)


def _lines(tag: str, left: Group | None, right: Group | None, any_left: bool, any_right: bool) -> list[Line]:
    """A line a row of the groups; the first baseline goes into the first method's line, others have their own."""
    shape = left or right
    lines = []
    first, *others = [row for row in shape.rows if row.kind == "baseline"]
    for number, row in enumerate([*others, *(row for row in shape.rows if row.kind != "baseline")]):
        cells: list[Value | None] = []
        for group, shown in ((left, any_left), (right, any_right)):
            if shown:
                cells += _half(group, row, first if number == len(others) else None)
        lines.append(Line(tag + row.label, row.kind, row.extra, cells))
    return lines


def _half(group: Group | None, row: Row, full: Row | None) -> list[Value | None]:
    """One side's cells of a row: the uncompressed model's if it goes here, then the strengths'."""
    if group is None:
        return [None] + [Value(None)] * len(row.values)
    mine = {(one.method, one.label): one for one in group.rows}[row.method, row.label]
    if row.kind == "baseline":
        return [mine.values[0]] + [None] * len(mine.values)
    uncompressed = None if full is None else {one.method: one for one in group.rows}[full.method].values[0]
    return [uncompressed, *mine.values]


def across(table: dict[str, Any], strengths: list[float], groups: list[Group]) -> Layout:
    """As the paper's Table 6: variants of the same methods side by side, each over the strengths; a block a metric.

    The table's `across` names the variants, its `rows` the methods.
    """
    heads = [names.strength(table["strength_kind"], s) for s in strengths]
    sides = [Side(title, heads) for title in table["across"]]
    blocks = []
    for group in (group for group in groups if group.metric in (*OF_RECOGNITION, *names.DISTANCES)):
        rows = {row.method: row for row in group.rows if row.kind == "method"}
        full = next(row for row in group.rows if row.kind == "baseline").values[0]
        lines = []
        for method in table["rows"]:
            variants = [rows[method_of(method + suffix).id] for suffix in table["across"].values()]
            cells = [value for row in variants for value in row.values]
            lines.append(Line(method_of(method).label, "method", None, cells))
        known = "" if full.value is None else f"; uncompressed {full.value:.2f}"
        blocks.append(Block(f"{group.title} ({group.direction} is better){known}", lines))
    return Layout(sides, blocks)


def write_table_files(
    results: Path, measured: list[Path], tables: Path, name: str, spec: dict[str, Any], tex: Path, csv: Path, html: Path
) -> None:
    """Write one table of the study in three forms. Raises ValueError for a table that does not exist."""
    table = read_table_entry(tables, name)
    table["backbones"] = [b for b, family in spec["backbones"].items() if family in table["families"]]
    frame = names.shown(pd.read_parquet(results), spec)
    efficiency = pd.concat([pd.read_csv(file) for file in measured], ignore_index=True)
    strengths, groups = build(frame, table, printed_by_cell() if spec["of_paper"] else {})
    groups = with_extra(groups, table, efficiency)
    context = {
        "name": name,
        "table": table,
        "strengths": strengths,
        "groups": groups,
        "spec": spec,
        "environments": environments(frame[frame["method"].isin([*table["methods"], *table["baselines"]])]),
        "extra": EXTRAS.get(table.get("extra", "")),
        "layout": (across if "across" in table else paired)(table, strengths, groups),
    }
    write_text(tex, templates().get_template("table.tex.j2").render(context))
    write_text(html, templates().get_template("table.html.j2").render(context))
    write_text(csv, to_csv(strengths, groups))
