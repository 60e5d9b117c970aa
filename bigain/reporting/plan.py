"""Which tables a study has: those with at least one cell. Read at planning time, so it stays light."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from bigain.methods import method_of
from bigain.study.cells import Cell


def read_tables(path: Path | str) -> dict[str, dict[str, Any]]:
    """The tables' data. Raises ValueError that names a table whose methods do not exist."""
    tables = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    for name, table in tables.items():
        for method in table["methods"]:
            try:
                method_of(method)
            except ValueError as error:
                raise ValueError(f"{path}: {name}.methods: {error}") from None
    return tables


def table_names(path: Path | str, cells: list[Cell], backbones: dict[str, dict[str, Any]]) -> list[str]:
    """The tables that show some compressed cell of the study."""
    have = {(backbones[cell.backbone]["family"], cell.method) for cell in cells}
    tables = read_tables(path)
    return [
        name for name, table in tables.items() if any((table["family"], method) in have for method in table["methods"])
    ]
