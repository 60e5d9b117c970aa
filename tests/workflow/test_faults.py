"""Kills at random moments, a full disk, a read-only disk, litter: the study ends with the same numbers all the same.

Each kill is a line of the log that the test prints (`pytest -s`, or when it fails).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.helpers import shrunken

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

KILLS = 20
REST = ("results/tiny/results.parquet", "--rerun-incomplete", *shrunken.TWO_JOBS)  # what `partly` lacks
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
        now = shrunken.finished_images(folder)
        assert now >= before, "a finished block is gone"
        lines.append(
            f"{kills:2d}  after {moment:4.1f} s  {what:17}  {len(at_work)} jobs at work"
            f"  {len(now):2d} images kept, {len(now - before)} of them new"
        )
        before = now
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
    """As a person does: unlock what a killed run left locked, then the same command."""
    unlock(folder)
    return shrunken.start(folder, "--rerun-incomplete", *shrunken.TWO_JOBS)


def unlock(folder: Path) -> None:
    locks = folder / ".snakemake/locks"
    if locks.is_dir() and any(locks.iterdir()):
        assert shrunken.start(folder, "--unlock").wait(60) == 0


def ended(running: subprocess.Popen, seconds: float) -> bool:
    """Whether it ended within that time."""
    try:
        assert running.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        return False
    return True


def jobs_of(running: subprocess.Popen) -> list[psutil.Process]:
    """The model jobs and others that a workflow has at work."""
    found = []
    for process in psutil.Process(running.pid).children(recursive=True):
        try:
            found += [process] if process.cmdline()[1:3] == ["-m", "bigain"] else []
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def strike(what: str, running: subprocess.Popen, at_work: list[psutil.Process]) -> None:
    """SIGKILL to the whole process group, to the workflow (whose jobs go on as orphans), or to one job."""
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
    """What killed workflows left running."""
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder):
                process.kill()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


@pytest.fixture
def partly(untouched, tmp_path) -> Path:
    """The finished study but for one cell, whose two jobs are to be done again."""
    folder = tmp_path / "partly"
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
def small_disk(partly) -> Iterator[Path]:
    """A file system of its own for the cell's shards and outputs."""
    place = partly / "results/tiny/work"
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
    """What a run that fails says."""
    before = (folder / "run.log").stat().st_size
    assert shrunken.start(folder, *REST).wait(300) != 0
    return (folder / "run.log").read_text()[before:]


def test_a_full_disk_is_said_and_what_was_written_stays(partly, small_disk, untouched):
    said = fails(partly)
    assert "No space left on device" in said
    assert f"FAILED {CELL.removeprefix('cells/')}" in said  # at the end, with the reason
    whole = sorted(small_disk.rglob("images-*"))
    assert whole
    assert not list(small_disk.rglob(".*.tmp"))
    remount(small_disk, "size=16m")
    first = {path: path.read_bytes() for path in whole}
    shrunken.run(partly, *REST)
    assert all(path.read_bytes() == content for path, content in first.items() if path.exists())
    computed = [
        json.loads((partly / f"results/tiny/{CELL}/chunk-{k}.parquet.json").read_text())["images_computed"]
        for k in range(2)
    ]
    assert sum(computed) < 12
    assert shrunken.numbers(partly) == shrunken.numbers(untouched)


def test_a_read_only_disk_is_said_and_then_forgotten(partly, small_disk, untouched):
    remount(small_disk, "ro,size=16m")
    said = fails(partly)
    assert "Read-only file system" in said
    remount(small_disk, "rw,size=16m")
    shrunken.run(partly, *REST)
    assert shrunken.numbers(partly) == shrunken.numbers(untouched)


def test_truncated_temporary_files_are_never_taken_for_results(partly, untouched):
    cell = partly / "results/tiny" / CELL
    whole = (untouched / f"results/tiny/{CELL}/chunk-0.parquet").read_bytes()
    ended = subprocess.Popen(["true"])
    ended.wait()
    litter = [cell / f".chunk-{k}.parquet.{os.uname().nodename}-{ended.pid}.tmp" for k in range(2)]
    for file in litter:
        file.write_bytes(whole[: len(whole) // 2])
    shrunken.run(partly, *REST)
    assert not any(file.exists() for file in litter)
    assert shrunken.numbers(partly) == shrunken.numbers(untouched)
