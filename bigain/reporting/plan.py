"""Which tables a study has: those with at least one cell. Read at planning time, so it stays light."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import yaml

from bigain.study.cells import Cell
from bigain.variants import method_of

PUBLISHED = Path(__file__).parents[2] / "reports" / "published"  # the paper's printed numbers


def read_tables(path: Path | str) -> dict[str, dict[str, Any]]:
    """The tables' data. Raises ValueError that names a table whose methods do not exist."""
    tables = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    for name, table in tables.items():
        try:
            table["methods"] = [method_of(method).id for method in table["methods"]]
            table["baselines"] = [method_of(method).id for method in table.get("baselines", ["none"])]
            table["delta"] = {key: method_of(method).id for key, method in table["delta"].items()}
        except ValueError as error:
            raise ValueError(f"{path}: {name}: {error}") from None
    return tables


def has_published(cells: list[Cell]) -> bool:
    """Whether the paper prints a number of any backbone, data set and task of these cells."""
    with open(PUBLISHED / "values.csv", newline="", encoding="utf-8") as handle:
        printed = {(row["task"], row["backbone"], row["dataset"]) for row in csv.DictReader(handle)}
    return any((cell.task, cell.backbone, cell.dataset) in printed for cell in cells)


def table_names(path: Path | str, cells: list[Cell], backbones: dict[str, dict[str, Any]]) -> list[str]:
    """The tables of which the study has some compressed cell, beyond those of the table they compare with."""
    have = {(backbones[cell.backbone]["family"], cell.method) for cell in cells}

    def own(table: dict[str, Any]) -> list[str]:
        return [method for method in table["methods"] if method not in table.get("references", [])]

    tables = read_tables(path)
    return [
        name
        for name, table in tables.items()
        if any((family, method) in have for family in table["families"] for method in own(table))
    ]
