"""The Triton kernels, interpreted, compute what torch computes."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

INTERPRETED = sorted((Path(__file__).parent / "kernels").glob("test_*.py"))


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
@pytest.mark.parametrize("plans", [True, False], ids=["plans", "kernels"])
def test_interpreted_they_compute_what_torch_computes(plans, root):
    """In processes of their own: Triton reads the variable when it is imported."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    files = [str(path) for path in INTERPRETED if (path.stem == "test_plans") == plans]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *files]
    run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    last = run.stdout.strip().splitlines()[-1]
    assert re.search(r"\d+ passed", last), last
    assert "skipped" not in last
