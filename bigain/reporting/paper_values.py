"""The numbers printed in the paper's tables, with methods and strengths named as in a study's cells."""

from __future__ import annotations

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


class PrintedDelta(NamedTuple):
    """A difference printed in Tables 2-5, `of` minus `against`; positive is better."""

    table: str
    backbone: str
    dataset: str
    task: str
    metric: str
    of: str
    against: str
    strength_kind: str
    strength: float
    printed: float


def values() -> pd.DataFrame:
    """Read every printed number; the column `printed` holds it, `note` a remark on it."""
    frame = pd.read_csv(PRINTED / "values.csv", dtype={"table": str}).rename(columns={"value": "printed"})
    frame["method"] = [method_of(method).id for method in frame["method"]]
    first, twelfth = frame["table"] == "1", frame["table"] == "12"
    frame.loc[first, "strength"] = frame.loc[first, "method"].map(TABLE_1)
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
    return tuple(PrintedDelta(**row) for row in records(pd.read_csv(PRINTED / "deltas.csv", dtype={"table": str})))


def printed_numbers() -> dict[CellMetric, float]:
    """Return the printed number of every cell and metric, from the first table that prints it."""
    numbers: dict[CellMetric, float] = {}
    for row in printed_values():
        if row.dataset is not None:
            key = CellMetric(row.metric, row.backbone, row.dataset, row.method, row.strength)
            numbers.setdefault(key, row.printed)
    return numbers


def printed_by_cell() -> dict[CellMetric, float]:
    """Return the printed numbers under a study's metrics: the paper's mAP is that of the released ranking."""
    return {
        key._replace(metric="map_released") if key.metric == "map" else key: number
        for key, number in printed_numbers().items()
    }
