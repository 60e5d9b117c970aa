"""What a config is made of, whatever its keys mean: text, finite numbers, lists and mappings, in sane amounts."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from typing import Any

from bigain.core.validation import LARGEST

MOST_VALUES, DEEPEST = 100_000, 20
LONGEST_TEXT, LONGEST_NAME = 1000, 100  # characters; names become names of folders
LONGEST_PART = 255  # bytes between two slashes: no file has a longer name


def unusable(config: Any) -> Iterator[str]:
    """What no config can hold, a line each, with the key: first of all, because it stops whatever reads further."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), config)]
    for _ in range(MOST_VALUES):
        if not waiting:
            return
        path, value = waiting.pop()
        where = ".".join(path) or "config"
        if len(path) > DEEPEST:
            yield f"{where}: nested more than {DEEPEST} deep"
        elif isinstance(value, dict):
            yield from (f"{where}: the key {_shown(key)} {odd}" for key in value if (odd := _odd_key(key)))
            waiting += [((*path, key), item) for key, item in value.items() if not _odd_key(key)]
        elif isinstance(value, list):
            waiting += [((*path, str(place)), item) for place, item in enumerate(value)]
        elif odd := _odd_value(value, LONGEST_NAME if path == ("study",) else LONGEST_TEXT):
            yield f"{where}: {odd}"
    if waiting:
        yield f"{'.'.join(waiting[-1][0])}: the config has more than {MOST_VALUES} values"


def _shown(key: Any) -> str:
    return "a number" if isinstance(key, int) and abs(key) > LARGEST else f"{key!r:.100}"


def _odd_key(key: Any) -> str:
    return _odd_value(key, LONGEST_NAME) if isinstance(key, str) and key else "has to be text"


def _odd_value(value: Any, longest: int) -> str:
    """What is wrong with a single value; empty if nothing is."""
    if isinstance(value, str):
        if len(value) > longest:
            return f"{value[:20]!r}... has {len(value)} characters; at most {longest} are allowed"
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
            return f"{value!r:.100} holds a character that no text has"
        if max(len(part.encode()) for part in value.split("/")) > LONGEST_PART:
            return f"{value[:20]!r}... is no name of a file: these have at most {LONGEST_PART} bytes"
    elif isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) <= LARGEST:
        shown = value if isinstance(value, float) and not math.isinf(value) else "a number"
        return f"{shown} is not allowed; numbers are finite, and at most {LARGEST}"
    return ""
