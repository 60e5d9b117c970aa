"""Read YAML files; errors name the file and the line. Repeated keys are errors, because YAML would keep the last."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from bigain.core.files import naming


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML or JSON file. Raises ValueError if it is missing, neither, or repeats a key."""
    if not path.is_file():
        raise ValueError(f"{path} is {'a folder' if path.is_dir() else 'missing'}")
    try:
        with naming(path):
            text = path.read_text(encoding="utf-8")
            document = yaml.compose(text.replace("\t", " "), yaml.SafeLoader)  # JSON may be indented by tabs
            for where, first, second in () if document is None else _repeated(document):
                raise ValueError(f"{path}: the key {where} is on line {first} and again on line {second}; keep one")
            return _parsed(text)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{path}{line} is not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error


def _parsed(text: str) -> Any:
    """Return the content of a JSON text, or else of a YAML text, as Snakemake does."""
    try:
        return json.loads(text)
    except ValueError:
        return yaml.safe_load(text)


def _repeated(document: yaml.Node) -> Iterator[tuple[str, int, int]]:
    """Yield the path of every key that a mapping has twice, and both lines."""
    waiting: list[tuple[str, yaml.Node]] = [("", document)]
    seen: set[int] = set()
    while waiting:
        path, node = waiting.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += [(f"{path}{index}.", item) for index, item in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            continue
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            name, line = (key.tag, str(key.value)), key.start_mark.line + 1
            if name in lines:
                yield f"{path}{key.value}", lines[name], line
            lines[name] = line
            waiting.append((f"{path}{key.value}.", value))
