"""Describe the columns of a study's files as columns.yaml does: in CSV files, parquet schemas and docs/results.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from bigain.core.messages import unknown

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = Path(__file__).with_name("columns.yaml")


class Column(NamedTuple):
    """A column of a file: its meaning, and the unit or the allowed values of its entries."""

    meaning: str
    values: str

    def __str__(self) -> str:
        """Return both in one line."""
        return f"{self.meaning} ({self.values})"


@dataclass(frozen=True)
class FileColumns:
    """A kind of file: where a study's files of this kind lie, what they hold, and their columns in order."""

    paths: tuple[str, ...]
    contents: str
    columns: Mapping[str, Column]


@cache
def described_files() -> dict[str, FileColumns]:
    """Return every kind of file, by its name in columns.yaml."""
    content = yaml.safe_load(COLUMNS.read_text(encoding="utf-8"))
    shared = {name: Column(*entry) for name, entry in content["shared"].items()}
    files = {}
    for kind, entry in content["files"].items():
        columns: dict[str, Column] = {}
        for item in entry["columns"]:
            ((name, description),) = [(item, item)] if isinstance(item, str) else item.items()
            columns[name] = shared[description] if isinstance(description, str) else Column(*description)
        files[kind] = FileColumns(tuple(entry["paths"]), entry["contents"], columns)
    return files


def columns_of(kind: str) -> Mapping[str, Column]:
    """Return the columns of a kind of file. Raises ValueError with a suggestion if there is no such kind."""
    if kind not in described_files():
        raise ValueError(unknown("kind of file", kind, described_files()))
    return described_files()[kind].columns


def column_of(kind: str, name: str) -> Column:
    """Return a column of a kind of file. Raises ValueError with a suggestion if it is not described.

    Capitals in columns.yaml stand for any text: `band_3` is described as `band_K`.
    """
    columns = columns_of(kind)
    for known, column in columns.items():
        if re.fullmatch(re.sub(r"[A-Z]+", "[^.]+", re.escape(known)), name):
            return column
    raise ValueError(f"{kind}: {unknown('column', name, columns)}")


def described(table: pa.Table, kind: str) -> pa.Table:
    """Return a table whose schema describes every column, under the key `description` of its metadata.

    Raises ValueError naming a column that columns.yaml does not describe.
    """
    import pyarrow as pa

    fields = [
        field.with_metadata({**(field.metadata or {}), b"description": str(column_of(kind, field.name)).encode()})
        for field in table.schema
    ]
    return table.cast(pa.schema(fields, metadata=table.schema.metadata))


def csv_text(kind: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as the CSV text of a kind of file, with all of its columns; what a row lacks is empty.

    Floats have ten digits, more than are significant in any number of a study. Raises ValueError naming a column that
    columns.yaml does not describe.
    """
    import pandas as pd

    rows = list(rows)
    for name in {name for row in rows for name in row}:
        column_of(kind, name)
    frame = pd.DataFrame(rows, columns=list(columns_of(kind)))
    return frame.to_csv(index=False, float_format="%.10g", lineterminator="\n")


def documentation() -> str:
    """Return every kind of file as a section of docs/results.md, with a table of its columns."""
    sections = []
    for kind, file in described_files().items():
        rows = [f"| `{name}` | {column.meaning} | {column.values} |" for name, column in file.columns.items()]
        where = "; ".join(f"`{path}`" for path in file.paths)
        table = ["| column | meaning | unit or values |", "|---|---|---|", *rows]
        sections.append("\n".join([f"### {kind}", "", f"{where}: {file.contents}", "", *table]))
    return "\n\n".join(sections) + "\n"
