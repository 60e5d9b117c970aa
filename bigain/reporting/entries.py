"""Read entries of tables.yaml and claims.yaml by name, each checked against the dataclass that it becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from bigain.core.messages import unknown
from bigain.core.yaml_files import read_yaml

Entry = TypeVar("Entry")
LONGEST_NAME = 100

# Types of a field's value in YAML, and their name in a message. NamedTuples are written as mappings.
FORMS: dict[type, tuple[str, tuple[type, ...]]] = {
    str: ("text", (str,)),
    bool: ("true or false", (bool,)),
    float: ("a number", (int, float)),
    list: ("a list", (list,)),
    tuple: ("a list", (list,)),
    dict: ("a mapping", (dict,)),
}


def read_entries(path: Path | str, parse: Callable[[str, dict[str, Any]], Entry], form: str) -> dict[str, Entry]:
    """Read a YAML file that maps names to entries. Raises ValueError naming the file, the entry and what is wrong."""
    return parse_entries(path, read_mapping(path, form), parse, form)


def read_mapping(path: Path | str, form: str) -> dict[Any, Any]:
    """Read a YAML file of the `form` tables or claims. Raises ValueError naming the file if it is not a mapping."""
    try:
        content = read_yaml(Path(path))
        if not isinstance(content, dict) or not content:
            raise ValueError(f"{path} holds {shown(content)}")
    except ValueError as error:
        raise ValueError(f"{error}; {_needed(form)}") from None
    return content


def parse_entries(
    path: Path | str, content: Any, parse: Callable[[str, dict[str, Any]], Entry], form: str
) -> dict[str, Entry]:
    """Parse every entry of a mapping. Raises ValueError naming the file, the entry and what is wrong with it."""
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: {form} is {shown(content)}; {_needed(form)}")
    entries = {}
    for name, entry in content.items():
        if not isinstance(name, str) or not name.isprintable() or len(name) > LONGEST_NAME:
            raise ValueError(f"{path}: {name!r:.60} cannot be a name; {_needed(form)}")
        if not isinstance(entry, dict):
            raise ValueError(f"{path}: {name} is {shown(entry)}, not a mapping; {_needed(form)}")
        try:
            entries[name] = parse(name, entry)
        except ValueError as error:
            raise ValueError(f"{path}: {name}: {error}") from None
    return entries


def _needed(form: str) -> str:
    return f"a mapping from names to {form} is needed, as in bigain/reporting/{form}.yaml"


def check_keys(entry: dict[str, Any], kind: type) -> None:
    """Raise ValueError naming a key that is unknown, missing or of another type than in the dataclass `kind`.

    Its field `name` is the key of the entry itself.
    """
    known = {field.name: field for field in fields(kind) if field.name != "name"}
    for key in entry:
        if key not in known:
            raise ValueError(unknown("key", key, known))
    hints = get_type_hints(kind)
    for key, field in known.items():
        if key not in entry:
            if field.default is MISSING and field.default_factory is MISSING:
                raise ValueError(f"{key} is missing")
        elif problem := _unlike(entry[key], hints[key]):
            raise ValueError(f"{key} is {shown(entry[key])}; {problem} is needed")


def _unlike(value: Any, hint: Any) -> str:
    """Return the name of the type that a value should have, or an empty string if it has that type."""
    hints = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if value is None and type(None) in hints:
        return ""
    (hint,) = (hint for hint in hints if hint is not type(None))
    kind = get_origin(hint) or (dict if hasattr(hint, "_fields") else hint)
    name, types = FORMS[kind]
    if not isinstance(value, types) or (isinstance(value, bool) and kind is not bool):
        return name
    inner = get_args(hint) or (str,)
    items = [(item, inner[0]) for item in value] if isinstance(value, list | dict) else []
    items += [(item, inner[-1]) for item in value.values()] if isinstance(value, dict) else []
    return next((f"{name} of {problem}" for item, hint in items if (problem := _unlike(item, hint))), "")


def shown(value: Any) -> str:
    """Describe a value of a file for a message."""
    if value is None or value in ({}, []):
        return "nothing"
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else f"{value!r:.60}"
