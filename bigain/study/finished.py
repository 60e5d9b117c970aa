"""Keep specs of finished jobs where a changed study needs nothing new of them: fewer captions, arms in another order.

A spec that says what the finished file already holds leaves its job finished. Without such a file, specs are those of
the config alone.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open

from bigain.core.records import canonical, spec_of
from bigain.core.specs import EncodeConditionsSpec

Arm = TypeVar("Arm", bound=tuple[Any, ...])


def with_all_captions(spec: EncodeConditionsSpec, file: str) -> EncodeConditionsSpec:
    """Return the spec of finished conditions that have the captions of `spec` and maybe more, or else `spec`."""
    try:
        with safe_open(file, "np") as stored:
            finished = json.loads((stored.metadata() or {}).get("spec", "null"))
    except (OSError, ValueError, SafetensorError):
        return spec
    captions = finished.get("captions") if isinstance(finished, dict) else None
    if type(captions) is not int or captions < spec["captions"]:
        return spec
    kept: EncodeConditionsSpec = {**spec, "captions": captions}
    return kept if canonical(kept) == canonical(finished) else spec


def in_probed_order(arms: list[Arm], file: str) -> list[Arm]:
    """Return the arms of a spectrum in the order of the finished probe, if it has the same ones."""
    try:
        return _ordered(arms, [(method, strength) for method, strength in spec_of(file)["arms"]])
    except (KeyError, TypeError, ValueError):
        return arms


def in_measured_order(arms: list[Arm], file: str) -> list[Arm]:
    """Return the arms of a backbone's measurements in the order of the finished ones, if they are the same."""
    try:
        with open(file, newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        measured = [(row["method"], float(row["strength"]) if row["strength"] else None) for row in rows]
    except (KeyError, OSError, ValueError):
        return arms
    return _ordered(arms, measured)


def _ordered(arms: list[Arm], finished: Iterable[tuple[str, float | None]]) -> list[Arm]:
    """Return arms, which begin with a method and a strength, in the order of finished ones; as they are if others."""
    by_place = {place: k for k, place in enumerate(finished)}
    if len(by_place) != len(arms) or not all(arm[:2] in by_place for arm in arms):
        return arms
    return sorted(arms, key=lambda arm: by_place[arm[:2]])
