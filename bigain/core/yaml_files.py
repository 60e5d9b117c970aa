"""Read YAML files; errors name the file and the line.

Repeated keys are errors, because YAML would keep the last. So are numbers such as 010 and 1:30, which YAML 1.1 reads in
base 8 and 60.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from bigain.core.files import naming

OTHER_BASE = re.compile(r"[-+]?(0[0-7_]+|[0-9_]+(:[0-9_.]+)+)", re.ASCII)  # octal and sexagesimal numbers


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML or JSON file. Raises ValueError if it is missing or neither, and for
    a repeated key or a number in another base."""
    if not path.is_file():
        raise ValueError(f"{path} is {'a folder' if path.is_dir() else 'missing'}")
    try:
        with naming(path):
            text = path.read_text(encoding="utf-8")
            document = yaml.compose(text.replace("\t", " "), yaml.SafeLoader)  # JSON may be indented by tabs
            for where, node in _nodes(document):
                _check_node(path, where, node)
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


def _nodes(document: yaml.Node | None) -> Iterator[tuple[str, yaml.Node]]:
    """Yield every node of a document with its path, which ends in a point unless it is empty."""
    waiting: list[tuple[str, yaml.Node]] = [] if document is None else [("", document)]
    seen: set[int] = set()
    while waiting:
        path, node = waiting.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        yield path, node
        if isinstance(node, yaml.SequenceNode):
            waiting += [(f"{path}{index}.", item) for index, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            waiting += [(f"{path}{key.value}.", value) for key, value in node.value]


def _repeated(node: yaml.MappingNode) -> Iterator[tuple[str, int, int]]:
    """Yield every key that a mapping has twice, and both lines."""
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        name, line = (key.tag, str(key.value)), key.start_mark.line + 1
        if name in lines:
            yield key.value, lines[name], line
        lines[name] = line


def _check_node(path: Path, where: str, node: yaml.Node) -> None:
    """Raise ValueError for a mapping that repeats a key, and for a number that YAML 1.1 reads as another one."""
    if isinstance(node, yaml.MappingNode):
        for key, first, second in _repeated(node):
            raise ValueError(f"{path}: the key {where}{key} is on line {first} and again on line {second}; keep one")
    elif (
        isinstance(node, yaml.ScalarNode) and node.tag.endswith((":int", ":float")) and OTHER_BASE.fullmatch(node.value)
    ):
        read, line = yaml.safe_load(node.value), node.start_mark.line + 1
        as_read = f"YAML reads {node.value} on line {line} as {read}"
        raise ValueError(f"{path}: {where.removesuffix('.')}: {as_read}: write {read}, or the number that is meant")
