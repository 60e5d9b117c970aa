"""One job per GPU, whatever Snakemake was told: each GPU has a lock."""

import json
import os
import subprocess
import sys
import time
from itertools import pairwise

import pytest

from bigain.core import gpu_locks

HOLD = """
import json, os, sys, time
from bigain.core.gpu_locks import locked_gpu
with locked_gpu() as name:
    print(json.dumps([name, os.environ.get("CUDA_VISIBLE_DEVICES"), time.time()]), flush=True)
    time.sleep(float(sys.argv[1]))
    print(json.dumps(time.time()), flush=True)
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine whose driver lists two GPUs; locks in a folder of its own."""
    driver = tmp_path / "bin/nvidia-smi"
    driver.parent.mkdir()
    driver.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: a)'\necho 'GPU 1: B (UUID: b)'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{driver.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def hold(seconds: float) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", HOLD, str(seconds)], stdout=subprocess.PIPE, text=True)


def test_never_two_jobs_on_a_gpu(machine):
    times = {"0": [], "1": []}
    for job in [hold(0.4) for _ in range(5)]:
        lines = [
            json.loads(line) for line in job.communicate(timeout=60)[0].splitlines() if not line.startswith("wait")
        ]
        name, shown, began = lines[0]
        assert shown == name
        times[name].append((began, lines[1]))
    assert sum(map(len, times.values())) == 5
    for held in times.values():
        ordered = sorted(held)
        assert len(held) >= 1
        assert all(first[1] <= second[0] for first, second in pairwise(ordered))


def test_a_killed_job_gives_its_gpu_back(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    killed = hold(60)
    assert json.loads(killed.stdout.readline())[0] == "1"
    killed.kill()
    killed.wait()
    began = time.monotonic()
    with gpu_locks.locked_gpu() as name:
        assert name == "1"
    assert time.monotonic() - began < 5
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"


def test_nothing_is_locked_under_slurm_or_without_gpus(machine, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with gpu_locks.locked_gpu() as name:
        assert name is None
    monkeypatch.delenv("SLURM_JOB_ID")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with gpu_locks.locked_gpu() as name:
        assert name is None
