"""The GPU run rehearsed on a CPU: every stage at a tiny size, from the command to the page."""

import json
import os
import subprocess
import sys

import pytest

from bench.gpu.stages import STAGES

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


def test_every_stage_of_the_gpu_run_is_rehearsed(root, tmp_path):
    output = tmp_path / "found"
    command = [sys.executable, "-m", "bench.gpu", str(output), "--rehearse", "--minutes", "14"]
    environment = os.environ | {"PYTHONPATH": str(root)}
    completed = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    results = json.loads(output.with_suffix(".json").read_text())
    assert {name: outcome["state"] for name, outcome in results["stages"].items()} == {s.name: "done" for s in STAGES}
    assert completed.returncode == 0
    assert completed.stdout.count("\n") == len(STAGES) + 1
    text = output.with_suffix(".md").read_text()
    assert all(f"## {stage.name}\n" in text for stage in STAGES)
    assert "figures mean nothing" in text
