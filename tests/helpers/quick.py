"""Which of many combinations stay in the quick suite; the others are system tests."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest


def in_turn(*axes: Sequence[Any], every: int = 2) -> list:
    """Return all combinations of values as parameters, of which every second (third, ...) along each axis is quick.

    Every value of every axis is in a quick combination. A value that is a tuple is spread over several parameters.
    """
    cases, met = [], [set() for _ in axes]
    for places in product(*(range(len(axis)) for axis in axes)):
        values = [axis[place] for axis, place in zip(axes, places, strict=True)]
        is_quick = sum(places) % every == 0
        if is_quick:
            for known, place in zip(met, places, strict=True):
                known.add(place)
        spread = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
        name = "-".join(map(str, spread))
        cases.append(pytest.param(*spread, marks=() if is_quick else pytest.mark.system, id=name))
    assert [len(known) for known in met] == [len(axis) for axis in axes], "some value is in no quick combination"
    return cases
