"""How far a study is, from its files alone: made-up outputs of the embedded study's config."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from bigain.cli.main import app
from bigain.cli.study import merged_config
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
    assert "1 of" in summary(study, ended=False)


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
    lines = summary(study, ended=True).splitlines()
    assert lines[0].startswith("FAILED inputs/mini_dit/fashion/latents and 1 more: OSError: [Errno 28]")
    assert lines[1].startswith(f"FAILED {CELL} (images 0 to 19): {NO_MESSAGE} (see results/watched/logs/cells/")
    assert lines[2].startswith("FAILED report/figure1: KeyError: 'none'")
    assert lines[3].startswith("watched: 1 of ")
    assert len(failures(phases(study), ended=False)) == 3  # what was started may be running


def test_a_job_of_other_settings_is_outdated(study):
    finish(study, CELL, 0, seed=7)
    stage = of(study, "classification, mini_dit")
    assert (stage.count("outdated"), stage.count("done"), stage.spent) == (1, 0, 0)


def test_the_command_says_it_in_words_and_as_json(study):
    finish(study, CELL, 0)
    log(study, f"cells/{CELL}/chunk-1", "ValueError: t 999: the error is nan")
    said = CliRunner().invoke(app, ["status", "--configfile", "mine.yaml"])
    assert said.exit_code == 0
    assert "ValueError: t 999" in said.output
    assert "classification, mini_dit" in said.output
    told = json.loads(CliRunner().invoke(app, ["status", "--configfile", "mine.yaml", "--json"]).output)
    stage = next(one for one in told["stages"] if one["stage"] == "classification, mini_dit")
    assert [job["state"] for job in stage["jobs"]] == ["done", "failed", "waiting", "waiting"]
