"""Reductions of operations that no calibration reaches are refused before any job, as the calibration would."""

import json
import math

import pytest
import yaml

from bigain.calibration import mosaicdiff
from bigain.cli.study import merged_config
from bigain.compression.structural import operations
from bigain.jobs import reductions
from bigain.jobs.calibrate import calibrate
from bigain.jobs.reductions import check_reduction
from bigain.measure.flops import architecture, condition_of
from bigain.study.study import Study


@pytest.fixture
def specs(root, tmp_path, monkeypatch):
    """The specs of MosaicDiff's and DiP-GO's calibrations on eight images, for any reduction."""
    monkeypatch.chdir(root)
    entry = {"task": "classification", "dataset": "fashion", "strengths": {"flops_reduction_percent": [10]}}
    cells = [
        entry | {"backbone": "mini_unet", "methods": ["mosaicdiff"]},
        entry | {"backbone": "mini_dit", "methods": ["dip_go"]},
    ]
    settings = {"study": "limits", "cells": cells, "calibration": {"images": 8, "prompts": 8}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(settings))
    study = Study(merged_config([tmp_path / "study.yaml"]))
    return [json.loads(study.calibration_spec(cell.path)) for cell in study.cells]


@pytest.mark.system
def test_the_latents_say_how_much_mosaicdiff_can_save_where_shapes_do_not(specs, tmp_path, monkeypatch):
    spec = specs[0] | {"reduction": 20}
    with pytest.raises(ValueError, match=r"mosaicdiff: 20 percent .* at most 1[0-9.]+ percent can be") as refused:
        check_reduction(spec)
    monkeypatch.setattr(mosaicdiff, "_hessians", None)  # the job refuses it before it predicts anything
    with pytest.raises(ValueError, match="percent can be") as by_job:
        calibrate(spec, tmp_path / "calibration.safetensors")
    assert str(refused.value) == str(by_job.value)
    monkeypatch.setattr(reductions, "encoded", None)
    check_reduction(spec | {"reduction": 5})


def test_steps_and_blocks_say_how_much_dip_go_can_save(specs):
    """One timestep for 10 classes and four for the 3 that are left: the blocks can reuse at the last three of these."""
    model = architecture("resources/mini-dit")
    counted = operations.by_module(model, condition_of(model, None))
    blocks = sum(counted[f"transformer_blocks.{number}"] for number in range(6))
    largest = 100 * 3 * 3 / (10 + 4 * 3) * blocks / counted[""]
    check_reduction(specs[1] | {"reduction": largest - 0.01})
    named = math.floor(100 * largest) / 100
    with pytest.raises(ValueError, match=rf"dip_go: {largest + 0.01:g} percent .* at most {named:g} percent can be"):
        check_reduction(specs[1] | {"reduction": largest + 0.01})
