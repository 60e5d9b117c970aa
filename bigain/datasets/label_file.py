"""CSV files beside your own images: which file has which labels and caption, and what classes are called."""

from __future__ import annotations

import csv
import io
import posixpath
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bigain.core.messages import shortened, unknown
from bigain.datasets.photos import leaves, repeated

SEPARATOR = "|"  # between the labels of an image
SHOWN = 5  # lines that a message names


class LabelledFile(NamedTuple):
    """A line of a label file. `caption` is None if the file has no such column."""

    line: int
    file: str
    labels: tuple[str, ...]
    caption: str | None


class ClassLine(NamedTuple):
    """A line of a class file. `class_id` is None if the file has no such column."""

    name: str
    class_id: int | None


def composed(text: str) -> str:
    """Return text with composed accents (NFC), as which names are compared: file systems differ in that."""
    return unicodedata.normalize("NFC", text)


def read_labels(path: Path) -> list[LabelledFile]:
    """Read a label file: `file`, and `label` (one) or `labels` (any number, separated by "|"), optionally `caption`.

    Raises FileNotFoundError or ValueError naming the file, the line and what it must hold.
    """
    lines = []
    for number, row in _rows(path, needed=("file",), further=("label", "labels", "caption")):
        if ("label" in row) == ("labels" in row):
            raise ValueError(f"{path}: a column `label` (one per image) or `labels` (any number) is needed, not both")
        where = f"{path}, line {number}"
        file = posixpath.normpath(composed(row["file"])) if row["file"] else ""
        if leaves(file):
            raise ValueError(f"{where}: file {row['file']!r} must be a path below the folder of the images")
        if row.get("caption") == "":
            raise ValueError(f"{where}: {file} has no caption, which the file has a column for")
        lines.append(LabelledFile(number, file, _labels(where, row), row.get("caption")))
    if not lines:
        raise ValueError(f"{path} names no file")
    if twice := repeated(line.file for line in lines):
        first, second, *_ = (line.line for line in lines if line.file == twice)
        raise ValueError(f"{path}: {twice} is on line {first} and again on line {second}; keep one")
    return lines


def read_classes(path: Path) -> dict[str, ClassLine]:
    """Read a class file: columns `class` (a folder, or a label), its `name` in prompts, optionally its `class_id`.

    Raises FileNotFoundError or ValueError naming the file, the line and what it must hold.
    """
    classes: dict[str, ClassLine] = {}
    for number, row in _rows(path, needed=("class", "name"), further=("class_id",)):
        where, key = f"{path}, line {number}", composed(row["class"])
        if not key or not row["name"]:
            raise ValueError(f"{where}: a class and its name are needed")
        if key in classes:
            raise ValueError(f"{where}: class {key!r} is listed twice")
        number_text = row.get("class_id")
        if number_text is not None and not (number_text.isascii() and number_text.isdigit()):
            raise ValueError(f"{where}: class_id {number_text!r} must be a whole number from 0")
        classes[key] = ClassLine(row["name"], None if number_text is None else int(number_text))
    if not classes:
        raise ValueError(f"{path} names no class")
    return classes


def named_lines(lines: Sequence[LabelledFile]) -> str:
    """Return the first of some lines for a message."""
    return shortened([f"{line.file} (line {line.line})" for line in lines], SHOWN)


def _labels(where: str, row: dict[str, str]) -> tuple[str, ...]:
    """Return the labels of an image. Raises ValueError for an empty or a repeated one."""
    if "label" in row:
        if not row["label"]:
            raise ValueError(f"{where}: {row['file']} has no label. Name the column `labels` if images may have none")
        if SEPARATOR in row["label"]:
            raise ValueError(
                f"{where}: {row['label']!r} are several labels. Name the column `labels` if images may have several"
            )
        return (composed(row["label"]),)
    labels = tuple(composed(label.strip()) for label in row["labels"].split(SEPARATOR)) if row["labels"] else ()
    if "" in labels:
        raise ValueError(f"{where}: {row['labels']!r} has an empty label")
    if twice := repeated(labels):
        raise ValueError(f"{where}: label {twice!r} occurs twice")
    return labels


def _rows(path: Path, needed: tuple[str, ...], further: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number of every line and its cells by column, without spaces around them; skip lines without cells."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; it must be a CSV file with {', '.join(needed)} and more columns")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}): save it as CSV UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if len(header) == 1 and (other := next((mark for mark in ";\t" if mark in header[0]), None)):
            name = {";": "semicolons", "\t": "tabs"}[other]
            raise ValueError(
                f"{path}: its first line has {name}; columns are separated by commas: save it as CSV UTF-8"
            )
        for name in header:
            if name not in (*needed, *further):
                raise ValueError(f"{path}: " + unknown("column", name, (*needed, *further)))
        missing = [name for name in needed if name not in header]
        if missing or (twice := repeated(header)):
            fault = f"has no column {missing[0]!r}" if missing else f"has the column {twice!r} twice"
            raise ValueError(f"{path} {fault}; columns are separated by commas, and the first line names them")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise ValueError(f"{path}, line {reader.line_num}: {len(cells)} cells, and {len(header)} columns")
            yield reader.line_num, dict(zip(header, (cell.strip() for cell in cells), strict=True))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
