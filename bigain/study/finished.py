"""Adapt specs to finished files that hold all that is needed: more images, or the same arms in another order.

A job whose spec equals that of its finished file is not run again. Without a finished file, specs depend on the config
alone.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar, cast

from bigain.core.provenance import ResultError, read_provenance
from bigain.core.records import canonical
from bigain.core.specs import EncodeConditionsSpec, EncodeImagesSpec

Encoding = TypeVar("Encoding", EncodeImagesSpec, EncodeConditionsSpec)
Arm = TypeVar("Arm", bound=tuple[Any, ...])


def with_all_encoded(spec: Encoding, counted: Literal["images", "captions"], file: str) -> Encoding:
    """Return the finished file's spec if it differs from `spec` only in holding more images or captions, else `spec`.

    `counted` is the key of their number.
    """
    finished, needed = _finished_spec(file), dict[str, Any](spec)
    count = finished.get(counted)
    if type(count) is not int or count < needed[counted]:
        return spec
    kept = needed | {counted: count}
    return cast(Encoding, kept) if canonical(kept) == canonical(finished) else spec


def in_finished_order(arms: list[Arm], file: str) -> list[Arm]:
    """Return the arms of a measurement (tuples of a method, a strength, ...) in the order of its finished file.

    If the file has other arms, the order stays.
    """
    finished = _finished_spec(file).get("arms", [])
    by_place = {tuple(arm[:2]): k for k, arm in enumerate(finished)}
    if len(by_place) != len(arms) or not all(arm[:2] in by_place for arm in arms):
        return arms
    return sorted(arms, key=lambda arm: by_place[arm[:2]])


def _finished_spec(file: str) -> dict[str, Any]:
    """Return the spec of a finished file; an empty one if there is none."""
    try:
        return read_provenance(file)["spec"]
    except ResultError:
        return {}
