"""Broken input for the fuzz tests: bytes and trees of plain values with one or more changes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

MARKS = [pytest.mark.system, pytest.mark.timeout(900)]


def cases(count: int) -> settings:
    """Return Hypothesis settings for `count` cases, the same in every run."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


ODD_NUMBERS = (0, -1, 1, 2, 10**9, 10**12, -(10**18), 1 << 63, 10**400, 0.5, -0.0, 5.0, 1e308)
ODD_NUMBERS += (float("nan"), float("inf"), float("-inf"))
ODD_TEXTS = (
    "",
    " ",
    "none",
    "../../x",
    "/etc/passwd",
    "a\0b",
    "a\nb",
    "\ud800",
    "ä" * 300,
    "x" * 5000,
    "~",
    "²",
    "1e3",
)
odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(ODD_NUMBERS),
    st.sampled_from(ODD_TEXTS),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.sampled_from(ODD_NUMBERS), max_size=4),
    st.builds(lambda: _nested(3000)),
    st.builds(lambda: 10**5000),  # which Python refuses to print
    st.dictionaries(st.sampled_from(("path", "id", "1", "")), st.integers(), max_size=2),
    st.sampled_from(([], {}, [[]], [None], {"a": {"b": []}}, {1: 2}, {None: 0}, [[1, 2], [3]])),
)


def _nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


@st.composite
def broken_bytes(draw: Callable, content: bytes) -> bytes:
    """Draw content that is cut, flipped, overwritten, repeated or replaced."""
    kind = draw(st.sampled_from(("cut", "flip", "flip", "overwrite", "insert", "remove", "random", "empty", "twice")))
    place = draw(st.integers(0, max(len(content) - 1, 0)))
    if kind == "cut":
        return content[:place]
    if kind == "flip":
        changed = bytearray(content)
        for at in draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
            changed[at] ^= 1 << draw(st.integers(0, 7))
        return bytes(changed)
    if kind in ("overwrite", "insert"):
        new = draw(st.binary(min_size=1, max_size=64) | st.sampled_from((b"\xff" * 8, b"\0" * 16, b"\x7f\xff\xff\xff")))
        return content[:place] + new + content[place + (len(new) if kind == "overwrite" else 0) :]
    if kind == "remove":
        return content[:place] + content[place + draw(st.integers(1, 64)) :]
    return {"random": draw(st.binary(max_size=200)), "empty": b"", "twice": content + content}[kind]


def places(tree: Any, path: tuple = ()) -> list[tuple]:
    """Return the path of every value below the root."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [place for key, value in items for place in ((*path, key), *places(value, (*path, key)))]


def _alike(value: Any, values: st.SearchStrategy) -> st.SearchStrategy:
    """Return values of the same type, which are more likely to pass the first checks."""
    if isinstance(value, list):
        return st.lists(st.sampled_from(value) if value else values, max_size=4)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return values
    return {
        int: st.integers(0, 2000),
        float: st.floats(0, 2),
        str: values.filter(lambda other: isinstance(other, str)),
    }[type(value)]


@st.composite
def broken_tree(draw: Callable, tree: Any, values: st.SearchStrategy = odd_values) -> tuple[Any, tuple]:
    """Draw a tree with one change, and the path of the change."""
    changed, path = copy.deepcopy(tree), draw(st.sampled_from(places(tree)))
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    last = path[-1]
    kind = draw(st.sampled_from(("alike", "alike", "replace", "replace", "delete", "add", "swap", "repeat")))
    if kind == "alike":
        parent[last] = draw(_alike(parent[last], values))
    elif kind == "replace":
        parent[last] = draw(values)
    elif kind == "delete":
        del parent[last]
    elif kind == "add" and isinstance(parent, dict):
        last = draw(st.sampled_from(("unknown", "pth", "", 1, None, True)) | st.text(max_size=8))
        parent[last] = draw(values)
    elif kind == "swap":
        value = parent[last]
        parent[last] = list(value.items()) if isinstance(value, dict) else {"value": value}
    elif isinstance(parent, list):
        parent.append(copy.deepcopy(parent[last]))
    else:
        parent[last] = [copy.deepcopy(parent[last])] * 2
    return changed, (*path[:-1], last)


def refusal(call: Callable[[], Any], kinds: type[Exception] | tuple[type[Exception], ...]) -> str | None:
    """Return the message with which a call refuses its input, or None if it accepts it.

    An error of another kind fails the test, and so do the ValueErrors that parsers and codecs raise themselves.
    """
    try:
        call()
    except kinds as error:
        if type(error).__module__.split(".")[0] not in ("bigain", "builtins") or isinstance(error, UnicodeError):
            raise
        str(error).encode()  # the message can be printed
        return str(error)
    return None


def is_json(value: Any) -> bool:
    """Return whether JSON can express a value."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def replace_file(path: Path, content: bytes) -> None:
    """Write a new file in place of an old one, of which there may be hard links."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)
