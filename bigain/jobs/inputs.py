"""Verify the result files that a job reads, and return their entries for the provenance of what it computes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bigain.core.files import read_json
from bigain.core.provenance import InputFile, ResultError, as_encoding, as_input, check_spec, checked, differences
from bigain.core.specs import CellJobSpec, ClassifySpec

SHARED = ("backbone", "dataset", "threads")  # keys that the spec of a job has in common with those of its inputs


def shared_input(file: Path, spec: Mapping[str, Any]) -> InputFile:
    """Return the entry of latents or conditions, which all methods share, for a job with this spec.

    Raises ResultError if the file is damaged, or was computed with another model, data set or number of threads.
    Settings that only one of the two specs has (blocks to compress, images that may be missing) are not compared.
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
    return as_encoding(file, provenance)


def batch_input(spec: ClassifySpec) -> tuple[int, dict[str, InputFile]]:
    """Return the rows of a forward pass, with the entry of the file that they were read from if they were measured.

    Raises ResultError if the file is damaged or was measured with another spec.
    """
    batch = spec["protocol"]["batch"]
    if batch != "auto":
        return batch, {}
    measured = spec["measured_batch"]
    provenance = checked(measured["file"])
    check_spec(measured["file"], provenance["spec"], measured["spec"])
    return read_json(measured["file"])["rows"], {"batch": as_input(measured["file"], provenance)}


def calibration_input(spec: CellJobSpec) -> dict[str, InputFile]:
    """Return the entry of a cell's calibration by its name, or an empty mapping if its method needs none.

    Raises ResultError if the file is damaged or was computed from another spec.
    """
    if "calibration" not in spec:
        return {}
    calibration = spec["calibration"]
    provenance = checked(calibration["file"])
    check_spec(calibration["file"], provenance["spec"], calibration["spec"])
    return {"calibration": as_input(calibration["file"], provenance)}
