"""The numbers printed in the paper's tables, with methods and strengths named as in a study's cells."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import pandas as pd

from bigain.methods.ids import method_of
from bigain.reporting.frames import CellMetric, optional, records
from bigain.reporting.package_files import PRINTED

# Table 1 prints what a method saves; its accuracies are those of these strengths in Tables 2 and 4 (and of SiTo at 0.7,
# which saves 6.93%). For the downsampling methods it prints 14.2%, which is what 8x saves; 3x, whose accuracies it
# prints, saves 12.84%.
TABLE_1 = {
    "tome": 0.5,
    "bigain_tm": 0.5,
    "sito": 0.7,
    "todo": 3.0,
    "bigain_td": 3.0,
    "dip_go": 10.0,
    "mosaicdiff": 10.0,
}
TABLE_12_FACTOR = 2.0  # "75% sparsity"
IMAGES = {"pets": 3669, "imagenet100": 5000, "imagenet1k": 2000, "coco2017": 5000}  # classified in each data set
SUMMARY = "1"  # the table that repeats numbers of Tables 2 and 4, in one place rounded otherwise


class PrintedValue(NamedTuple):
    """A number of one of the paper's tables; data set and strength are None where the number has none."""

    table: str
    backbone: str
    dataset: str | None
    task: str
    metric: str
    method: str
    strength: float | None
    printed: float

    @property
    def cell(self) -> CellMetric | None:
        """The cell and metric that the number is of; None for a number of no data set."""
        if self.dataset is None:
            return None
        return CellMetric(self.metric, self.backbone, self.dataset, self.method, self.strength)


class PrintedDelta(NamedTuple):
    """A difference printed in Tables 1-5, `of` minus `against`; positive is better."""

    table: str
    backbone: str
    dataset: str
    task: str
    metric: str
    of: str
    against: str
    strength: float
    printed: float


def values() -> pd.DataFrame:
    """Read every printed number; the column `printed` holds it, `note` a remark on it."""
    frame = pd.read_csv(PRINTED / "values.csv", dtype={"table": str}).rename(columns={"value": "printed"})
    frame["method"] = [method_of(method).id for method in frame["method"]]
    return _with_strengths_of_cells(frame, "method")


def _with_strengths_of_cells(frame: pd.DataFrame, method: str) -> pd.DataFrame:
    """Replace what Tables 1 and 12 print of a method's strength, the operations or keys it saves, by its strength."""
    first, twelfth = frame["table"] == "1", frame["table"] == "12"
    frame.loc[first, "strength"] = frame.loc[first, method].map(TABLE_1)
    frame.loc[twelfth, "strength"] = TABLE_12_FACTOR
    return frame.drop(columns="strength_kind")


@cache
def printed_values() -> tuple[PrintedValue, ...]:
    """Return every printed number, in the order of the tables."""
    return tuple(
        PrintedValue(
            row["table"],
            row["backbone"],
            row["dataset"] if isinstance(row["dataset"], str) else None,
            row["task"],
            row["metric"],
            row["method"],
            optional(row["strength"]),
            row["printed"],
        )
        for row in records(values())
    )


@cache
def printed_deltas() -> tuple[PrintedDelta, ...]:
    """Return every printed difference, in the order of the tables."""
    frame = pd.read_csv(PRINTED / "deltas.csv", dtype={"table": str})
    return tuple(PrintedDelta(**row) for row in records(_with_strengths_of_cells(frame, "of")))


@cache
def printed_tables() -> dict[CellMetric, dict[str, float]]:
    """Return the printed number of every cell and metric in each table that prints it, in the order of the tables."""
    numbers: dict[CellMetric, dict[str, float]] = {}
    for row in printed_values():
        if row.cell is None:
            continue
        printed = numbers.setdefault(row.cell, {}).setdefault(row.table, row.printed)
        if printed != row.printed:
            raise ValueError(f"values.csv: Table {row.table} prints {printed:g} and {row.printed:g} for {row.cell}")
    return numbers


def contradictions() -> dict[CellMetric, dict[str, float]]:
    """Return the cells and metrics for which the paper's tables print different numbers, by table."""
    return {cell: numbers for cell, numbers in printed_tables().items() if len(set(numbers.values())) > 1}


def printed_pair(a: CellMetric, b: CellMetric) -> tuple[float, float] | None:
    """Return two printed numbers to compare: of the first table that prints both, else each of its first table.

    Table 1 comes last, because it repeats numbers of others. None if the paper does not print both.
    """
    of_a, of_b = (printed_tables().get(cell, {}) for cell in (a, b))
    if not of_a or not of_b:
        return None
    common = sorted((table for table in of_a if table in of_b), key=lambda table: table == SUMMARY)
    if common:
        return of_a[common[0]], of_b[common[0]]
    return next(iter(of_a.values())), next(iter(of_b.values()))


def printed_in(tables: Sequence[str]) -> dict[CellMetric, float]:
    """Return the numbers that some of the paper's tables print, under a study's metrics.

    The paper's mAP is that of the released ranking. Raises ValueError if these tables contradict each other.
    """
    numbers = {}
    for cell, by_table in printed_tables().items():
        printed = {table: by_table[table] for table in tables if table in by_table}
        if len(set(printed.values())) > 1:
            shown = " and ".join(f"{number:.2f} (Table {table})" for table, number in printed.items())
            raise ValueError(f"the paper prints {shown} for {cell.metric} of {cell.method} on {cell.dataset}")
        if printed:
            key = cell._replace(metric="map_released") if cell.metric == "map" else cell
            numbers[key] = next(iter(printed.values()))
    return numbers
