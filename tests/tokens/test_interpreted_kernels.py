"""The Triton kernels, interpreted, compute what torch computes."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
@pytest.mark.parametrize(
    "marked", ["not system", pytest.param("system", marks=pytest.mark.system)], ids=["quick", "system"]
)
def test_interpreted_they_compute_what_torch_computes(marked, root):
    """In a process of their own: Triton reads the variable when it is imported."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    kernels = str(Path(__file__).parent / "kernels")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", marked, kernels]
    run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    last = run.stdout.strip().splitlines()[-1]
    assert re.search(r"\d+ passed", last), last
    assert "skipped" not in last
