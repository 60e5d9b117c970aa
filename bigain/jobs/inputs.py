"""Result files that a job reads: verified, and recorded in the provenance of what it computes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bigain.core.provenance import InputRecord, ResultError, checked, compare, differences, record
from bigain.core.specs import CellJobSpec

SHARED = ("backbone", "dataset", "threads")  # keys of a job's spec that its inputs were computed with, too


def verified(file: Path, spec: Mapping[str, Any]) -> InputRecord:
    """Return the record of latents or conditions for a job with this spec.

    Raises ResultError if the file is damaged, or was computed with another model, data set or number of threads. Keys
    of which only one spec has a need (blocks to compress, images that may be missing) are not compared.
    """
    provenance = checked(file)
    actual, expected = {}, {}
    for key in SHARED:
        actual[key], expected[key] = provenance["spec"].get(key), spec[key]
        if isinstance(actual[key], dict):
            common = actual[key].keys() & expected[key].keys()
            actual[key], expected[key] = ({name: part[key][name] for name in common} for part in (actual, expected))
    if wrong := differences(actual, expected):
        raise ResultError(file, "foreign", "was computed with " + "; ".join(wrong))
    return record(file, provenance)


def calibration_record(spec: CellJobSpec) -> dict[str, InputRecord]:
    """Return the record of a cell's calibration, or an empty mapping if its method needs none.

    Raises ResultError if the file is damaged or not of the expected spec.
    """
    if "calibration" not in spec:
        return {}
    calibration = spec["calibration"]
    provenance = checked(calibration["file"])
    compare(calibration["file"], provenance, calibration["spec"])
    return {"calibration": record(calibration["file"], provenance)}
