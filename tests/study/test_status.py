"""How far a study is, from its files alone: made-up outputs of the embedded study's config."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from bigain.cli.main import app
from bigain.cli.study import merged_config
from bigain.core import failures as recorded
from bigain.core.places import importing_this_package
from bigain.core.provenance import write_provenance
from bigain.core.records import work_folder
from bigain.study.status import NO_MESSAGE, failures, phases, summary
from bigain.study.study import Study

CELL = "classification/mini_dit/fashion/none/full/seed-0"


@pytest.fixture
def study(root, tmp_path, monkeypatch) -> Study:
    """Two cells of two jobs each, in an empty folder that sees the repository."""
    for name in ("config", "resources", "reports"):
        (tmp_path / name).symlink_to(root / name)
    monkeypatch.chdir(tmp_path)
    changes = {
        "study": "watched",
        "datasets": {"fashion": {"images": 40}},
        "classification": {"block": 10},
        "shards": {"per_job": 2},
        "cells": [
            {"task": "classification", "backbone": "mini_dit", "dataset": "fashion", "methods": ["none", "tome"]}
        ],
        "strengths": {"merge_ratio": [0.5]},
    }
    Path("mine.yaml").write_text(yaml.safe_dump(changes))
    return Study(merged_config([Path("mine.yaml")]))


def finish(study: Study, cell: str, chunk: int, **changes) -> None:
    """A job's output, as far as status looks at it."""
    output = Path(study.results, "cells", cell, f"chunk-{chunk}.parquet")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("")
    spec = json.loads(study.job_spec(cell, chunk)) | changes
    write_provenance(output, spec, {}, seconds=1800.0)


def log(study: Study, name: str, error: str | None = None) -> None:
    file = Path(study.results, "logs", f"{name}.log")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("...")
    if error:
        file.with_suffix(".error").write_text(f"{error}\n")


def of(study: Study, name: str):
    return next(phase for phase in phases(study) if phase.name == name)


def test_jobs_are_counted_with_their_hours(study):
    stage = of(study, "classification, mini_dit")
    assert (len(stage.jobs), stage.count("waiting"), stage.spent) == (4, 4, 0)
    assert stage.left > 0  # as planned
    finish(study, CELL, 0)
    stage = of(study, "classification, mini_dit")
    assert stage.count("done") == 1
    assert stage.spent == pytest.approx(0.5)
    planned = [job.seconds_planned for job in stage.jobs]
    assert stage.left == pytest.approx(0.5 * sum(planned[1:]) / planned[0])  # at the pace of what is done
    assert "1 of" in summary(study)


def test_shards_of_an_unfinished_job_count(study):
    log(study, f"cells/{CELL}/chunk-1")
    folder = work_folder(json.loads(study.job_spec(CELL, 1)))
    folder.mkdir(parents=True)
    for images in ("000020-000030", "000000-000010"):
        (folder / f"images-{images}-0123456789ab-0123456789ab.parquet").write_text("")  # the other is of the other job
    job = next(job for job in of(study, "classification, mini_dit").jobs if job.name.endswith("(images 20 to 39)"))
    assert (job.state, job.finished, job.images) == ("started", 10, 20)


def test_a_log_of_an_earlier_run_is_no_start(study):
    log(study, f"cells/{CELL}/chunk-1")
    file = Path(study.results, f"logs/cells/{CELL}/chunk-1.log")
    os.utime(file, (time.time() - 60,) * 2)
    assert of(study, "classification, mini_dit").count("started") == 1
    study.write_plan()
    assert of(study, "classification, mini_dit").count("started") == 0
    file.touch()
    assert of(study, "classification, mini_dit").count("started") == 1


def test_failures_come_first_with_their_reasons_and_equal_ones_together(study):
    finish(study, CELL, 1)
    for name in ("latents", "conditions"):
        log(study, f"inputs/mini_dit/fashion/{name}", "OSError: [Errno 28] No space left on device")
    log(study, f"cells/{CELL}/chunk-0")
    log(study, "report/figure1", "KeyError: 'none'")
    planned = {job.output for stage in phases(study) for job in stage.jobs}
    lines = summary(study, stopped=planned).splitlines()
    assert lines[0].startswith("FAILED inputs/mini_dit/fashion/latents and 1 more: OSError: [Errno 28]")
    assert lines[1].startswith(f"FAILED {CELL} (images 0 to 19): {NO_MESSAGE} (see results/watched/logs/cells/")
    assert lines[2].startswith("FAILED report/figure1: KeyError: 'none'")
    assert lines[3].startswith("watched: 1 of ")
    assert len(failures(phases(study))) == 3  # what was started may be running


def test_a_job_of_another_run_has_not_stopped(study):
    for chunk in (0, 1):
        log(study, f"cells/{CELL}/chunk-{chunk}")
    first = next(job.output for job in of(study, "classification, mini_dit").jobs if job.output.stem == "chunk-0")
    lines = summary(study, stopped={first}).splitlines()
    assert lines[0].startswith(f"FAILED {CELL} (images 0 to 19): {NO_MESSAGE}")
    assert lines[1].startswith("watched: 0 of ")


def test_a_job_of_other_settings_is_outdated_and_one_of_another_cell_failed(study):
    finish(study, CELL, 0, threads=7)
    finish(study, CELL, 1, seed=7)
    stage = of(study, "classification, mini_dit")
    assert (stage.count("outdated"), stage.count("failed"), stage.count("done"), stage.spent) == (1, 1, 0, 0)
    (failed,) = failures([stage])
    assert failed.reason.startswith(f"{failed.output} holds classification, mini_dit, fashion, none, seed 7, not ")


def test_a_job_whose_output_has_no_provenance_is_not_done(study):
    finish(study, CELL, 0)
    Path(study.results, "cells", CELL, "chunk-0.parquet.json").unlink()
    stage = of(study, "classification, mini_dit")
    assert (stage.count("done"), stage.count("waiting"), stage.spent) == (0, 4, 0)


def test_the_command_says_it_in_words_and_as_json(study):
    finish(study, CELL, 0)
    log(study, f"cells/{CELL}/chunk-1", "ValueError: t 999: the error is nan")
    shown = CliRunner().invoke(app, ["status", "--configfile", "mine.yaml"])
    assert shown.exit_code == 0
    assert "ValueError: t 999" in shown.output
    assert "classification, mini_dit" in shown.output
    report = json.loads(CliRunner().invoke(app, ["status", "--configfile", "mine.yaml", "--json"]).output)
    phase = next(phase for phase in report["phases"] if phase["phase"] == "classification, mini_dit")
    assert [job["state"] for job in phase["jobs"]] == ["done", "failed", "waiting", "waiting"]


@pytest.fixture
def full_disk(study) -> Iterator[Path]:
    """Mount a small file system on the study's results, and fill it after the plan was written."""
    place = Path(study.results)
    place.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    study.write_plan()
    with suppress(OSError), open(place / "filler", "wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass
    yield place
    recorded.forget(place / "logs/report/audit.log")
    subprocess.run(["umount", str(place)], check=True)


def run_audit(study: Study) -> subprocess.CompletedProcess:
    """Run a job of the report, whose outputs lie among the results here."""
    outputs = [text for form in ("tex", "csv", "html") for text in (f"--{form}", f"{study.results}/audit.{form}")]
    command = [sys.executable, "-m", "bigain", "audit", *outputs, "--log", f"{study.results}/logs/report/audit.log"]
    environment = {**os.environ, **importing_this_package()}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_full_disk_is_the_reason_wherever_one_looks(study, full_disk):
    failed = run_audit(study)
    assert failed.returncode == 1
    reason = "OSError: [Errno 28] No space left on device: 'results/watched/audit."
    assert failed.stderr.startswith(reason)
    assert "(see results/watched/logs/report/" in failed.stderr
    assert not list(full_disk.rglob("*.error"))
    assert summary(study).startswith("FAILED report/audit: OSError: [Errno 28] No space left on device")
    report = CliRunner().invoke(app, ["status", "--configfile", "mine.yaml"])
    assert "No space left on device" in report.output
    (full_disk / "filler").unlink()
    assert run_audit(study).returncode == 0
    assert "FAILED" not in summary(study)


def test_a_read_only_disk_is_the_reason_too(study, full_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(full_disk)], check=True)
    failed = run_audit(study)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: OSError: [Errno 30] Read-only file system: 'results/watched/logs'")
    assert "Traceback" not in failed.stderr
    assert summary(study).startswith("FAILED report/audit: OSError: [Errno 30] Read-only file system")


def test_a_log_folder_that_is_none_is_the_reason(study):
    Path(study.results).mkdir(parents=True)
    study.write_plan()
    Path(study.results, "logs").write_text("")
    failed = run_audit(study)
    assert failed.stderr.startswith("error: NotADirectoryError: [Errno 20] Not a directory: 'results/watched/logs")
    assert summary(study).startswith("FAILED report/audit: NotADirectoryError")
    recorded.forget(Path(study.results, "logs/report/audit.log"))


def test_reasons_in_the_temporary_folder_count_for_the_latest_run_only(study):
    log = Path(study.results, "logs/report/audit.log")
    blocked = Path(study.results, "logs")
    blocked.parent.mkdir(parents=True)
    blocked.write_text("")  # no folder: the reason goes elsewhere
    recorded.note(log, "OSError: [Errno 28] No space left on device")
    assert recorded.reason_of(log, began=0) is None  # no run of this study began
    assert recorded.reason_of(log, began=time.time() - 60) == "OSError: [Errno 28] No space left on device"
    assert recorded.reason_of(log, began=time.time() + 60) is None
    assert recorded.failed_logs(log.parent) == [log]
    recorded.forget(log)
    assert recorded.failed_logs(log.parent) == []
