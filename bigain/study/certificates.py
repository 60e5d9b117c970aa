"""Certificates of elimination, which `bigain elimination --calibrate` writes and a config may name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from bigain.core.files import read_json
from bigain.core.places import located
from bigain.core.report_specs import EliminationCertificate
from bigain.core.validation import validate
from bigain.study.cells import Config

WHERE = "classification.elimination.certificate"
RATE = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
COUNT = {"type": "integer", "minimum": 0}
AGREEMENT = {"images": COUNT, "disagreements": COUNT, "predictions": {"type": "number", "minimum": 0}}
CELL = {
    **AGREEMENT,
    **{name: {"type": "string"} for name in ("backbone", "dataset", "method", "run")},
    "strength": {"type": ["number", "null"]},
    "seed": COUNT,
    "full_predictions": COUNT,
    "others": {"type": "object", "required": list(AGREEMENT), "properties": AGREEMENT},
}
CERTIFICATE = {
    "z": {"type": "number", "exclusiveMinimum": 0},
    "every": COUNT,
    "trials": COUNT,
    "rate": RATE,
    "confidence": RATE,
    "cells": {"type": "array", "minItems": 1, "items": {"type": "object", "required": list(CELL), "properties": CELL}},
}


def read_certificate(file: Path) -> EliminationCertificate:
    """Read a certificate. Raises ValueError naming the file, the key and what is wrong with it."""
    content = read_json(file)
    validate(file, content, CERTIFICATE)
    return cast(EliminationCertificate, content)


def certificate_of(config: Config) -> EliminationCertificate | None:
    """Return the certificate that a config names, if any."""
    file = _file(config)
    return None if file is None else read_certificate(file)


def certificate_faults(config: Config) -> Iterator[str]:
    """Find a certificate that is missing, damaged, or of another schedule than the config's."""
    file = _file(config)
    if file is None:
        return
    if not file.is_file():
        yield f"{WHERE}: {file} is missing; `bigain elimination --calibrate` writes such a file"
        return
    try:
        certificate = read_certificate(file)
    except ValueError as error:
        yield f"{WHERE}: {error}"
        return
    settings = config["classification"]["elimination"]
    for key, certified in (("z", certificate["z"]), ("every", certificate["every"])):
        if settings[key] != certified:
            yield f"{WHERE}: {file} is for {key}: {certified:g}, and the config has {key}: {settings[key]:g}"
    for dataset, trials in _trials(config).items():
        if trials != certificate["trials"]:
            yield f"{WHERE}: {file} is for {certificate['trials']} trials, and {dataset} has {trials}"


def _file(config: Config) -> Path | None:
    settings: dict[str, Any] | None = config["classification"]["elimination"]
    return None if settings is None or settings["certificate"] is None else located(settings["certificate"])


def _trials(config: Config) -> dict[str, int]:
    """Return the number of trials on every data set that is classified."""
    datasets = sorted({entry["dataset"] for entry in config["cells"] if entry["task"] == "classification"})
    default = config["classification"]["stages"]
    return {name: (config["datasets"][name]["stages"] or default)[-1] for name in datasets}
