"""Entries of tables.yaml and claims.yaml: check their keys against the dataclass that they become."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from bigain.core.messages import unknown


def check_keys(entry: dict[str, Any], kind: type) -> None:
    """Raise ValueError naming a key that `kind` does not have, or one that it needs; `name` is the entry's own key."""
    known = [field for field in fields(kind) if field.name != "name"]
    for key in entry:
        if key not in {field.name for field in known}:
            raise ValueError(unknown("key", key, [field.name for field in known]))
    for field in known:
        if field.name not in entry and field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{field.name} is missing")
