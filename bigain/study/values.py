"""Check a config's values whatever their keys mean: text, finite numbers, lists and mappings, in sane amounts."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from typing import Any

from bigain.core.validation import LARGEST

MOST_VALUES, DEEPEST = 100_000, 20
LONGEST_TEXT, LONGEST_NAME = 1000, 100  # characters; names become folders
LONGEST_FILE_NAME = 255  # bytes, on all common file systems


def unusable_values(config: Any) -> Iterator[str]:
    """Find what no config can hold, one line per problem, with the key. Runs first: it would stop all later checks."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), config)]
    for _ in range(MOST_VALUES):
        if not waiting:
            return
        path, value = waiting.pop()
        where = ".".join(path) or "config"
        if len(path) > DEEPEST:
            yield f"{where}: nested more than {DEEPEST} levels deep"
        elif isinstance(value, dict):
            yield from (f"{where}: the key {_shown(key)} {fault}" for key in value if (fault := _key_fault(key)))
            waiting += [((*path, key), item) for key, item in value.items() if not _key_fault(key)]
        elif isinstance(value, list):
            waiting += [((*path, str(index)), item) for index, item in enumerate(value)]
        elif fault := _value_fault(value, LONGEST_NAME if path == ("study",) else LONGEST_TEXT):
            yield f"{where}: {fault}"
    if waiting:
        yield f"{'.'.join(waiting[-1][0])}: the config has more than {MOST_VALUES} values"


def retired_keys(config: Any) -> Iterator[str]:
    """Find keys of earlier versions, and say what to write instead."""
    section = config.get("classification") if isinstance(config, dict) else None
    elimination = section.get("elimination") if isinstance(section, dict) else None
    if not isinstance(elimination, dict) or not {"test", "level"} & set(elimination):
        return
    level, where = elimination.get("level"), "classification.elimination: the keys test and level are gone"
    if elimination.get("test") == "cantelli" and isinstance(level, float) and 0 < level < 1:
        yield f"{where}; write z: {math.sqrt((1 - level) / level):.3g} instead of cantelli at level {level:g}"
    else:
        yield f"{where}; write z, a number of standard errors, such as z: 2 (cantelli at level 0.2)"


def _shown(key: Any) -> str:
    return "a number" if isinstance(key, int) and abs(key) > LARGEST else f"{key!r:.100}"


def _key_fault(key: Any) -> str:
    """Return what is wrong with a key, or nothing."""
    return _value_fault(key, LONGEST_NAME) if isinstance(key, str) and key else "must be text"


def _value_fault(value: Any, longest: int) -> str:
    """Return what is wrong with a single value, or nothing."""
    if isinstance(value, str):
        if len(value) > longest:
            return f"{value[:20]!r}... has {len(value)} characters; at most {longest} are allowed"
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
            return f"{value!r:.100} has a control character or half a surrogate pair"
        if max(len(part.encode()) for part in value.split("/")) > LONGEST_FILE_NAME:
            return f"{value[:20]!r}... cannot be the name of a file, which has at most {LONGEST_FILE_NAME} bytes"
    elif isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) <= LARGEST:
        if isinstance(value, float) and not math.isfinite(value):
            return f"{value} is not allowed; a finite number is needed"
        shown = value if isinstance(value, float) else "a number"
        return f"{shown} is not allowed; numbers must be at most {LARGEST}"
    return ""
