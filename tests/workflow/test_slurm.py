"""The shrunken study through sbatch on a real SLURM: one job cancelled, one killed at work, the same numbers."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from bigain.core.records import work_folder
from tests.helpers import shrunken, slurm

pytestmark = [pytest.mark.system, pytest.mark.timeout(1500)]

PROFILE = "profiles/slurm/config.yaml"
QUICK = """
slurm-init-seconds-before-status-checks: 5
slurm-status-command: squeue
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[None]:
    if reason := slurm.why_not():
        pytest.skip(reason)
    with slurm.cluster(tmp_path_factory.mktemp("slurm")):
        yield


def at_work(folder: Path, rule: str) -> dict[int, str]:
    """SLURM's running jobs of a rule whose own command is at work, by that command's process."""
    running = {}
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if process.cwd() == str(folder) and command[1:4] == ["-m", "bigain", rule]:
                running[process.pid] = process.environ()["SLURM_JOB_ID"]
        except (psutil.NoSuchProcess, psutil.AccessDenied, KeyError):
            continue
    return running


def wait_for(condition, seconds: float = 400):
    """What a condition gives as soon as it gives something."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if result := condition():
            return result
        time.sleep(0.2)
    raise TimeoutError


def images_kept(shards: Path, first: int, last: int) -> int:
    """Return how many images of [first, last) are in finished blocks; the folder also holds those of the cell's other
    jobs."""
    ranges = [[int(part) for part in file.name.split("-")[1:3]] for file in shards.glob("images-*")]
    return sum(end - start for start, end in ranges if first <= start and end <= last)


def killed_at_work(folder: Path) -> tuple[Path, int] | None:
    """Kill a classification job between its first block and its output; return that output and its images kept."""
    for process in at_work(folder, "classify"):
        try:
            job = psutil.Process(process)
            words = job.cmdline()
            options = dict(pairwise(words))
            spec, output = json.loads(options["--spec"]), folder / options["--output"]
            shards = folder / work_folder(spec)
            while (
                job.is_running() and job.status() != psutil.STATUS_ZOMBIE and not images_kept(shards, *spec["images"])
            ):
                time.sleep(0.01)
            job.suspend()
            if not output.exists() and (kept := images_kept(shards, *spec["images"])):
                job.kill()
                return output, kept
            job.resume()
        except (psutil.NoSuchProcess, KeyError):
            continue
    return None


def test_the_study_through_sbatch_with_a_cancelled_and_a_killed_job(root, cluster, untouched, tmp_path):
    folder = shrunken.prepare(root, tmp_path / "study")
    # As a person does who needs a partition for GPUs; and without the patience that a real cluster asks for.
    profile = (folder / PROFILE).read_text().replace("# slurm_partition: gpu", "slurm_partition: gpu")
    profile = profile.replace("16000 * attempt", "3000 * attempt").replace("4000 * attempt", "1500 * attempt")
    (folder / PROFILE).write_text(profile + QUICK)
    running = shrunken.start(folder, "--workflow-profile", "profiles/slurm")
    try:
        _, job = wait_for(lambda: at_work(folder, "generate")).popitem()
        subprocess.run(["scancel", job], check=True)
        output, kept = wait_for(lambda: killed_at_work(folder))
        assert running.wait(1000) == 0, (folder / "run.log").read_text()[-5000:]
    finally:
        running.kill()
    log = (folder / "run.log").read_text()
    info = json.loads(Path(f"{output}.json").read_text())
    first, last = info["spec"]["images"]
    assert 0 < kept == last - first - info["images_computed"]
    assert log.count("Trying to restart job") >= 2
    assert shrunken.numbers(folder) == shrunken.numbers(untouched)
    jobs = subprocess.run(["scontrol", "show", "job"], capture_output=True, text=True, check=True).stdout
    submitted = [job for job in jobs.split("\n\n") if "JobId=" in job]
    with_gpu = [job for job in submitted if "gres/gpu" in job.lower() or "gpu:1" in job]
    assert len(with_gpu) >= 14  # models of every kind, and two again
    assert all("Partition=gpu" in job for job in with_gpu)
    assert all("NumNodes=1" in job for job in submitted)
    assert list((folder / "results/slurm/rule_generate").rglob("*.log"))  # of what failed
    again = shrunken.run(folder, "--workflow-profile", "profiles/slurm", "--dry-run")
    assert "Nothing to be done" in again[len(log) :]
    print(
        f"{len(submitted)} jobs through sbatch, {len(with_gpu)} of them with a GPU; of the job killed at work {kept} of"
    )
    print(f"{last - first} images were kept, and the others computed by its retry")
