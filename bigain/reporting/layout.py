"""Lay out a table in LaTeX: groups of columns and sections of lines, as in the paper's tables."""

from __future__ import annotations

from dataclasses import dataclass

from bigain.methods.ids import method_of
from bigain.reporting import names
from bigain.reporting.contents import TableEntry
from bigain.reporting.numbers import Value
from bigain.reporting.tables import Group, Row

RECOGNITION = ("acc@1", "map", "map_released", "map_macro")
INLINE = 8  # columns of numbers up to which intervals fit next to their numbers instead of below them


@dataclass(frozen=True)
class ColumnGroup:
    """Columns under a common title."""

    title: str
    heads: list[str]


@dataclass(frozen=True)
class Line:
    """A printed line; a None among its cells is left blank, a Value without a number is a dash."""

    label: str
    kind: str
    extra: Value | None
    cells: list[Value | None]


@dataclass(frozen=True)
class Section:
    """Lines under a common title, such as a data set's."""

    title: str
    lines: list[Line]


@dataclass(frozen=True)
class Layout:
    """A printed table."""

    column_groups: list[ColumnGroup]
    sections: list[Section]

    @property
    def columns(self) -> int:
        """Number of columns that hold numbers."""
        return sum(len(group.heads) for group in self.column_groups)

    @property
    def lines(self) -> int:
        """Number of lines."""
        return sum(len(section.lines) for section in self.sections)

    @property
    def inline(self) -> bool:
        """Return whether intervals fit next to their numbers."""
        return self.columns <= INLINE


def lay_out(table: TableEntry, strengths: list[float], groups: list[Group]) -> Layout:
    """Lay out a table: variants side by side if it names any, else recognition next to generation."""
    return (
        _variants(table, strengths, groups) if table.across else _recognition_and_generation(table, strengths, groups)
    )


def _recognition_and_generation(table: TableEntry, strengths: list[float], groups: list[Group]) -> Layout:
    """Lay out as Tables 2-5: recognition on the left, generation on the right, and a section per data set.

    Each half starts with the uncompressed model. Metrics other than accuracy, mAP and Fréchet distance are left to the
    CSV file and the page.
    """
    recognition = [group for group in groups if group.metric in RECOGNITION]
    generation = {(group.backbone, group.dataset): group for group in groups if group.metric in names.DISTANCES}
    heads = ["none", *(names.strength(table.strength_kind, s) for s in strengths)]
    column_groups = [ColumnGroup("Recognition $\\uparrow$", heads)] if recognition else []
    if generation:
        distance = names.METRICS[next(iter(generation.values())).metric].short
        column_groups.append(ColumnGroup(f"Generation ({distance}) $\\downarrow$", heads))
    sections = []
    for backbone, dataset in dict.fromkeys((group.backbone, group.dataset) for group in groups):
        left = [group for group in recognition if (group.backbone, group.dataset) == (backbone, dataset)]
        right = generation.get((backbone, dataset))
        lines = []
        for group in left:
            tag = f"{names.METRICS[group.metric].short} " if len(left) > 1 else ""
            lines += _lines(tag, [group, right] if generation else [group])
        if right and not left:
            lines += _lines("", [None, right] if recognition else [right])
        metric = f", {names.METRICS[left[0].metric].label}" if len(left) == 1 else ""
        sections.append(Section(f"{backbone}, {dataset}{metric}", lines))
    return Layout(column_groups, sections)


def _lines(tag: str, halves: list[Group | None]) -> list[Line]:
    """Return a line per row of the groups in the table's halves.

    The first baseline, the uncompressed model, shares the line of the first method; other baselines have their own.
    """
    rows = next(group.rows for group in halves if group is not None)
    uncompressed, *baselines = [row for row in rows if row.kind == "baseline"]
    others = [row for row in rows if row.kind != "baseline"]
    lines = []
    for row in [*baselines, *others]:
        baseline = uncompressed if row is others[0] else None
        cells = [cell for group in halves for cell in _half(group, row, baseline)]
        lines.append(Line(tag + row.label, row.kind, row.extra, cells))
    return lines


def _half(group: Group | None, row: Row, uncompressed: Row | None) -> list[Value | None]:
    """Return one half of a line: the uncompressed model's value if it belongs here, then a value per strength."""
    if group is None:
        return [None, *[Value(None)] * len(row.values)]
    values = next(r.values for r in group.rows if (r.method, r.label) == (row.method, row.label))
    if row.kind == "baseline":
        return [values[0], *[None] * len(values)]
    if uncompressed is None:
        return [None, *values]
    return [next(r.values[0] for r in group.rows if r.method == uncompressed.method), *values]


def _variants(table: TableEntry, strengths: list[float], groups: list[Group]) -> Layout:
    """Lay out as Table 6: variants of the same methods side by side, each over the strengths; a section per metric."""
    heads = [names.strength(table.strength_kind, s) for s in strengths]
    column_groups = [ColumnGroup(title, heads) for title in table.across]
    sections = []
    for group in (group for group in groups if group.metric in (*RECOGNITION, *names.DISTANCES)):
        values = {row.method: row.values for row in group.rows if row.kind == "method"}
        uncompressed = next(row.values[0] for row in group.rows if row.kind == "baseline")
        lines = []
        for method in table.rows:
            cells: list[Value | None] = []
            for suffix in table.across.values():
                cells += values[method_of(method + suffix).id]
            lines.append(Line(method_of(method).label, "method", None, cells))
        reference = f"; uncompressed {uncompressed.text}" if uncompressed.value is not None else ""
        sections.append(Section(f"{group.title} ({group.direction} is better){reference}", lines))
    return Layout(column_groups, sections)
