"""Kills at random moments, a full disk, a read-only disk, stray files: the study still ends with the same numbers.

The test prints one line per kill (`pytest -s`, or when it fails).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bigain.study.status import NO_MESSAGE
from tests.helpers import shrunken

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

KILLS = 20
REST = ("results/tiny/results.parquet", "--rerun-incomplete", *shrunken.TWO_JOBS)  # what `unfinished` lacks
CELL = "cells/classification/mini_dit/fashion/bigain_tm/ratio-0.5/seed-0"


def test_twenty_kills_at_random_moments_lose_nothing(root, untouched, tmp_path):
    folder = shrunken.prepare(root, tmp_path / "killed")
    draw, lines, before, kills = random.Random(20), [], set(), 0
    while kills < KILLS:
        what, moment = draw.choice(("workflow and jobs", "workflow alone", "one job")), draw.uniform(4, 16)
        running = start_again(folder)
        if ended(running, moment):  # there is nothing left to kill: from the start again
            lines.append("    all was done, and is removed")
            stop_orphans(folder)
            for place in ("results", "reports/tiny"):
                shutil.rmtree(folder / place)
            before = set()
            continue
        kills, at_work = kills + 1, jobs_of(running)
        strike(what, running, at_work)
        finished = shrunken.finished_images(folder)
        assert finished >= before, "a finished block is gone"
        lines.append(
            f"{kills:2d}  after {moment:4.1f} s  {what:17}  {len(at_work)} jobs at work"
            f"  {len(finished):2d} images kept, {len(finished - before)} of them new"
        )
        before = finished
        if what == "one job":
            running.send_signal(signal.SIGTERM)  # the others end, and nothing new starts
            running.wait(120)
    stop_orphans(folder)
    unlock(folder)
    shrunken.run(folder, "--rerun-incomplete", *shrunken.TWO_JOBS)
    print("\n".join(lines))
    assert shrunken.numbers(folder) == shrunken.numbers(untouched)
    assert not list((folder / "results").rglob(".*.tmp"))


def start_again(folder: Path) -> subprocess.Popen:
    """Do as a person would: unlock what a killed run left locked, then run the same command."""
    unlock(folder)
    return shrunken.start(folder, "--rerun-incomplete", *shrunken.TWO_JOBS)


def unlock(folder: Path) -> None:
    locks = folder / ".snakemake/locks"
    if locks.is_dir() and any(locks.iterdir()):
        assert shrunken.start(folder, "--unlock").wait(60) == 0


def ended(running: subprocess.Popen, seconds: float) -> bool:
    """Return whether a workflow ended, and well, within that time."""
    try:
        assert running.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        return False
    return True


def jobs_of(running: subprocess.Popen) -> list[psutil.Process]:
    """Return the running jobs of a workflow."""
    jobs = []
    for process in psutil.Process(running.pid).children(recursive=True):
        try:
            jobs += [process] if process.cmdline()[1:3] == ["-m", "bigain"] else []
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return jobs


def strike(what: str, running: subprocess.Popen, at_work: list[psutil.Process]) -> None:
    """Kill the whole process group, the workflow (whose jobs go on as orphans), or one job."""
    if what == "workflow and jobs":
        os.killpg(running.pid, signal.SIGKILL)
    elif what == "workflow alone" or not at_work:
        running.kill()
    else:
        try:
            at_work[0].kill()
        except psutil.NoSuchProcess:
            return
    if what != "one job" or not at_work:
        running.wait(10)


def stop_orphans(folder: Path) -> None:
    """Kill what killed workflows left running."""
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder):
                process.kill()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def test_the_end_of_a_run_names_its_killed_job_and_none_of_another_run(root, tmp_path):
    folder = shrunken.prepare(root, tmp_path / "killed")
    running = shrunken.start(folder, "results/tiny/inputs/mini_dit/fashion/latents.safetensors")
    job = first_job(running, "encode-images")
    of_another_run = folder / "results/tiny/logs/inputs/mini_dit/fashion/conditions.log"
    of_another_run.write_text("")
    job.kill()
    assert running.wait(120) != 0
    (summary,) = (line for line in (folder / "run.log").read_text().splitlines() if line.startswith("FAILED"))
    assert summary.startswith(f"FAILED inputs/mini_dit/fashion/latents: {NO_MESSAGE} (see ")


def first_job(running: subprocess.Popen, command: str) -> psutil.Process:
    """Wait until a job of a workflow runs a command; return it."""
    while running.poll() is None:
        for process in jobs_of(running):
            if command in process.cmdline():
                return process
        time.sleep(0.01)
    raise AssertionError(f"the workflow ended before a job ran {command}")


@pytest.fixture
def unfinished(untouched, tmp_path) -> Path:
    """Copy the finished study without the results of one cell, which has two jobs."""
    folder = tmp_path / "unfinished"
    shutil.copytree(untouched, folder, symlinks=True)
    (folder / "results/tiny/results.parquet").unlink()
    for file in (folder / "results/tiny" / CELL).glob("*"):
        file.unlink()
    info = json.loads((untouched / f"results/tiny/{CELL}/chunk-0.parquet.json").read_text())
    for shard in work_of(folder, info["spec"]).glob("*"):
        shard.unlink()
    return folder


def work_of(folder: Path, spec: dict) -> Path:
    from bigain.core.records import work_folder

    return folder / work_folder(spec)


@pytest.fixture
def small_disk(unfinished) -> Iterator[Path]:
    """Mount a small file system for the cell's shards and outputs."""
    place = unfinished / "results/tiny/work"
    shutil.rmtree(place)
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


def fails(folder: Path) -> str:
    """Run a workflow that has to fail; return what it logged."""
    before = (folder / "run.log").stat().st_size
    assert shrunken.start(folder, *REST).wait(300) != 0
    return (folder / "run.log").read_text()[before:]


def test_a_full_disk_is_reported_and_what_was_written_stays(unfinished, small_disk, untouched):
    log = fails(unfinished)
    assert "No space left on device" in log
    assert f"FAILED {CELL.removeprefix('cells/')}" in log  # at the end, with the reason
    whole = sorted(small_disk.rglob("images-*"))
    assert whole
    assert not list(small_disk.rglob(".*.tmp"))
    remount(small_disk, "size=16m")
    first = {path: path.read_bytes() for path in whole}
    shrunken.run(unfinished, *REST)
    assert all(path.read_bytes() == content for path, content in first.items() if path.exists())
    computed = [
        json.loads((unfinished / f"results/tiny/{CELL}/chunk-{k}.parquet.json").read_text())["images_computed"]
        for k in range(2)
    ]
    assert sum(computed) < 12
    assert shrunken.numbers(unfinished) == shrunken.numbers(untouched)


def test_a_disk_full_under_all_results_is_the_reason_in_the_summary(root, tmp_path, monkeypatch):
    """Room for two blocks, of the plan and of the job's log: not even the reason can be written beside the log."""
    folder, temporary = shrunken.prepare(root, tmp_path / "full"), tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    place = folder / "results/tiny"
    place.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        block = os.statvfs(place).f_bsize
        (place / "filler").write_bytes(bytes(2**20 - 2 * block))
        target = "results/tiny/inputs/mini_dit/fashion/latents.safetensors"
        assert shrunken.start(folder, target).wait(300) != 0
        log = (folder / "run.log").read_text()
        assert not list(place.rglob("*.error"))
        assert [file.name for file in temporary.rglob("*.*")] == ["latents.error"]
    finally:
        subprocess.run(["umount", str(place)], check=True)
    (summary,) = (line for line in log.splitlines() if line.startswith("FAILED inputs/mini_dit/fashion/latents"))
    assert "No space left on device" in summary


def test_a_read_only_disk_is_reported_and_leaves_no_trace(unfinished, small_disk, untouched):
    remount(small_disk, "ro,size=16m")
    log = fails(unfinished)
    assert "Read-only file system" in log
    remount(small_disk, "rw,size=16m")
    shrunken.run(unfinished, *REST)
    assert shrunken.numbers(unfinished) == shrunken.numbers(untouched)


def test_truncated_temporary_files_are_never_taken_for_results(unfinished, untouched):
    cell = unfinished / "results/tiny" / CELL
    whole = (untouched / f"results/tiny/{CELL}/chunk-0.parquet").read_bytes()
    ended = subprocess.Popen(["true"])
    ended.wait()
    litter = [cell / f".chunk-{k}.parquet.{os.uname().nodename}-{ended.pid}.tmp" for k in range(2)]
    for file in litter:
        file.write_bytes(whole[: len(whole) // 2])
    shrunken.run(unfinished, *REST)
    assert not any(file.exists() for file in litter)
    assert shrunken.numbers(unfinished) == shrunken.numbers(untouched)
