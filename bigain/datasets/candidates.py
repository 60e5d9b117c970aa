"""Lists of prompts or class ids, one per line: what to generate, or what a classifier chooses from. No torch."""

from __future__ import annotations

import re
from pathlib import Path

from bigain.core.columns import columns_of

LISTED = re.compile(r"\s*\d+(\s*,\s*\d+)*\s*", re.ASCII)
CLASS = re.compile(r"(\d{1,9})(?:[\s,:]+(\S.*))?", re.ASCII)
SHOWN = 60  # characters of a line in a message


def read_prompts(path: Path) -> list[str]:
    """Return the prompts of a text file, one per line; blank lines separate and are no prompts.

    Raises FileNotFoundError for a missing file, and ValueError naming a file without prompts or a repeated line.
    """
    return [text for _, text in _lines(path, "prompts")]


def read_class_ids(source: str) -> dict[int, str]:
    """Return class ids with their names, empty where none is stated.

    `source` lists ids (`0,3,7`) or is a text file with one id per line and, after a space, the class's name. Raises
    FileNotFoundError for a missing file, and ValueError naming the line that is no id, or an id that is repeated.
    """
    if not source.strip(" ,"):
        raise ValueError(f"class ids are {source!r}: list some, as in 0,3,7, or name a text file")
    if LISTED.fullmatch(source):
        ids = [int(part) for part in source.split(",")]
        if len(set(ids)) < len(ids):
            raise ValueError(f"class ids {source}: each is listed once")
        return dict.fromkeys(ids, "")
    names: dict[int, str] = {}
    for number, text in _lines(Path(source), "class ids"):
        entry = CLASS.fullmatch(text)
        if entry is None:
            raise ValueError(f"{source}, line {number}: {text[:SHOWN]!r} is not a class id, or an id and a name")
        if int(entry[1]) in names:
            raise ValueError(f"{source}, line {number}: class id {entry[1]} is listed twice")
        names[int(entry[1])] = entry[2] or ""
    return names


def prompts_of(names: list[str], template: str) -> dict[str, str]:
    """Return the prompt of every name: the template with {} replaced. Raises ValueError unless it has one {}."""
    if template.count("{}") != 1:
        raise ValueError(f"template {template!r} has to hold {{}} once, for the name: 'a photo of a {{}}'")
    return {name: template.replace("{}", name) for name in names}


def _is_output(line: str) -> bool:
    """Return whether the first line of a file is that of a table or of settings that a command wrote."""
    predictions = [name for name in columns_of("predictions") if "CLASS" not in name]
    headers = (predictions, list(columns_of("generated images")))
    return line == "{" or any(line.split(",")[: len(header)] == header for header in headers)


def _lines(path: Path, kind: str) -> list[tuple[int, str]]:
    """Return the lines that are not blank, without surrounding space, each with its number from 1."""
    if not path.is_file():
        state = "a folder" if path.is_dir() else "missing"
        raise FileNotFoundError(f"{path} is {state}: a text file with {kind}, one per line, is needed")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a text file in UTF-8 ({error})") from error
    lines = [(k, line.strip()) for k, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        raise ValueError(f"{path} is empty: it has to list {kind}, one per line")
    if _is_output(lines[0][1]):
        raise ValueError(f"{path} is a file that bigain wrote, not a list of {kind}, one per line: name another file")
    first: dict[str, int] = {}
    for number, line in lines:
        if "\0" in line:
            raise ValueError(f"{path}, line {number} is not text")
        if line in first:
            raise ValueError(f"{path}, line {number} repeats line {first[line]}: {line[:SHOWN]!r}")
        first[line] = number
    return lines
