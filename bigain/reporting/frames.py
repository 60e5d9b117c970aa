"""Rows, groups and numbers of pandas frames with plain Python types."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

Arm = tuple[str, float | None]  # a method and its strength


class CellMetric(NamedTuple):
    """A metric of a cell, over all its seeds; `strength` is None for the uncompressed model."""

    metric: str
    backbone: str
    dataset: str
    method: str
    strength: float | None


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as dictionaries from column to value."""
    return [{str(column): value for column, value in row.items()} for row in frame.to_dict("records")]


def groups(frame: pd.DataFrame, columns: list[str]) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    """Split a frame by columns of text: (values of the columns, rows), in order of appearance."""
    return [(tuple(map(str, values)), rows) for values, rows in frame.groupby(columns, sort=False)]


def by_method(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Split a frame by its method column, in order of appearance."""
    return [(method, rows) for (method,), rows in groups(frame, ["method"])]


def by_arm(frame: pd.DataFrame) -> dict[Arm, pd.DataFrame]:
    """Return the rows of every method at every strength, in order of appearance."""
    arms: dict[Arm, pd.DataFrame] = {}
    key: Any
    for key, rows in frame.groupby(["method", "strength"], sort=False, dropna=False):
        arms[key[0], optional(key[1])] = rows
    return arms


def optional(value: float | None) -> float | None:
    """Return a number, or None if it is missing (NaN)."""
    return None if pd.isna(value) else value


def at_strength(frame: pd.DataFrame, strength: float | None) -> pd.DataFrame:
    """Select the rows of a strength; None selects those without one."""
    column = frame["strength"]
    return frame[column.isna() if strength is None else column == strength]
