"""`classification.batch: auto`: measured once, part of what cells are computed from, and verified."""

import json
import subprocess
import sys

import pytest

from bigain.core.provenance import read_provenance
from tests.helpers import shrunken

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]

AUTO = {
    "datasets": {"fashion": {"images": 4}},
    "classification": {"stages": [1], "keep": [1], "block": 2, "batch": "auto"},
    "cells": [{"task": "classification", "backbone": "mini_dit", "dataset": "fashion", "methods": ["none"]}],
}


def test_a_study_measures_its_batch_once(root, tmp_path):
    folder = shrunken.prepare(root, tmp_path / "study", **AUTO)
    shrunken.run(folder)
    results = folder / "results/tiny"
    file = results / "inputs/mini_dit/batch.json"
    measured = json.loads(file.read_text())
    assert measured["rows"] == min(measured["timings"], key=lambda timing: timing["seconds_per_row"])["rows"]
    assert read_provenance(file)["spec"]["backbone"]["id"] == "mini_dit"
    (chunk,) = results.glob("cells/classification/mini_dit/fashion/none/*/seed-0/chunk-*.parquet")
    provenance = read_provenance(chunk)
    assert provenance["spec"]["protocol"]["batch"] == "auto"
    assert provenance["inputs"]["batch"]["sha256"] == read_provenance(file)["sha256"]

    (folder / "run.log").unlink()
    assert "Nothing to be done" in shrunken.run(folder)

    file.write_text(json.dumps(measured | {"rows": measured["rows"] + 1}))
    command = [sys.executable, "-m", "bigain", "verify", "--configfile", "study.yaml"]
    refused = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "inputs/mini_dit/batch.json" in refused.stdout + refused.stderr
