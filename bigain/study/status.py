"""How far a study is: its jobs done, failed (with the reason), under way and left, with the hours they took and will.

All of it is read from files: outputs, shards, what failed jobs left beside their logs. Nothing has to be running.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bigain.core.files import read_json
from bigain.core.records import canonical, work_folder
from bigain.study.cells import Cell
from bigain.study.plan import Plan
from bigain.study.study import Study

State = Literal["done", "outdated", "failed", "started", "waiting"]
NO_WORD = "stopped without a message: killed, out of memory, or over its time limit"


@dataclass
class Job:
    """One job and how far it is. `outdated`: its file is there, and its settings or its code have changed since.

    `images` are those it has in all, `finished` those in shards; `seconds` what it took so far.
    """

    stage: str
    name: str
    output: Path
    state: State
    reason: str = ""
    log: Path | None = None
    images: int = 0
    finished: int = 0
    seconds: float = 0.0
    seconds_planned: float = 0.0


@dataclass
class Stage:
    """The jobs of a stage, counted."""

    name: str
    jobs: list[Job] = field(default_factory=list)

    def count(self, *states: State) -> int:
        """How many are in one of these states."""
        return sum(job.state in states for job in self.jobs)

    @property
    def spent(self) -> float:
        """Hours of what is there."""
        return sum(job.seconds for job in self.jobs) / 3600

    @property
    def left(self) -> float:
        """Hours of what is not there yet, at the pace of what is; before that, as planned."""
        done = sum(job.seconds_planned * _share(job) for job in self.jobs if job.seconds)
        pace = sum(job.seconds for job in self.jobs) / done if done else 1.0
        missing = sum(job.seconds_planned * (1 - _share(job)) for job in self.jobs)
        return pace * missing / 3600


def _share(job: Job) -> float:
    """The part of a job that is finished."""
    if job.state == "done":
        return 1.0
    return job.finished / job.images if job.images else 0.0


def stages(study: Study) -> list[Stage]:
    """Every job of a study by stage, in the order of the road."""
    found: dict[str, Stage] = {}
    for job in _jobs(study):
        found.setdefault(job.stage, Stage(job.stage)).jobs.append(job)
    return list(found.values())


def failures(found: list[Stage], ended: bool) -> list[Job]:
    """The jobs that failed; `ended`: nothing runs any more, so what was started and is not there failed too."""
    jobs = [job for stage in found for job in stage.jobs]
    return [job for job in jobs if job.state == "failed" or (ended and job.state == "started")]


def summary(study: Study, ended: bool) -> str:
    """What a run says at its end: failures first, then how far the study is."""
    found = stages(study)
    lines = failure_lines(failures(found, ended))
    jobs = sum(len(stage.jobs) for stage in found)
    done = sum(stage.count("done") for stage in found)
    spent, left = (sum(getattr(stage, name) for stage in found) for name in ("spent", "left"))
    lines.append(f"{study.name}: {done} of {jobs} jobs done, {hours(spent)} of model jobs spent, {hours(left)} left")
    return "\n".join([*lines, "(`bigain status` says more)" if lines[1:] else ""]).rstrip()


def failure_lines(failed: list[Job]) -> list[str]:
    """The failed jobs, those with one reason together."""
    by_reason: dict[str, list[Job]] = {}
    for job in failed:
        by_reason.setdefault(job.reason or NO_WORD, []).append(job)
    lines = []
    for reason, jobs in by_reason.items():
        more = f" and {len(jobs) - 1} more" if jobs[1:] else ""
        lines.append(f"FAILED {jobs[0].name}{more}: {reason} (see {jobs[0].log})")
    return lines


def as_dict(stage: Stage) -> dict[str, Any]:
    """A stage for machines to read."""
    jobs = [
        {"name": job.name, "state": job.state, "reason": job.reason, "images": job.images, "finished": job.finished}
        for job in stage.jobs
    ]
    return {"stage": stage.name, "hours_spent": stage.spent, "hours_left": stage.left, "jobs": jobs}


def hours(value: float) -> str:
    """A time, for print."""
    if value >= 1:
        return f"{value:.1f} hours"
    return f"{60 * value:.0f} minutes" if value >= 1 / 60 else f"{3600 * value:.0f} seconds"


def last_sign(job: Job) -> float:
    """Minutes since a started job last wrote to its log."""
    return (time.time() - job.log.stat().st_mtime) / 60 if job.log and job.log.exists() else 0.0


def _jobs(study: Study) -> Iterator[Job]:
    root = Path(study.results)
    for backbone, dataset in dict.fromkeys((cell.backbone, cell.dataset) for cell in study.cells):
        tasks = {cell.task for cell in study.cells if (cell.backbone, cell.dataset) == (backbone, dataset)}
        for name in ("latents", "conditions"):
            if name == "conditions" or "classification" in tasks:
                yield _plain(study, "inputs", root / "inputs" / backbone / dataset / f"{name}.safetensors")
    for dataset in dict.fromkeys(cell.dataset for cell in study.cells if cell.task == "generation"):
        yield _plain(study, "inputs", root / "inputs" / "reference" / f"{dataset}.safetensors")
    for cell in study.cells:
        yield from (_plain(study, "calibration", Path(file)) for file in study.calibration_files(cell.path))
    plan = Plan(study)
    for cell in study.cells:
        yield from _chunks(study, plan, cell)
    for file in (*study.score_files(), root / "results.parquet"):
        yield _plain(study, "metrics", Path(file))
    for backbone in study.backbones():
        yield _plain(study, "measurements", root / "efficiency" / f"{backbone}.csv")
    for backbone, dataset in study.probed():
        yield _plain(study, "measurements", root / "probes" / backbone / dataset / "spectrum.parquet")
    for backbone, dataset in study.shown():
        yield _plain(study, "measurements", root / "probes" / backbone / dataset / "tokens.safetensors")
    page = Path(study.reports) / "index.html"
    yield Job("report", str(page), page, "done" if page.exists() else "waiting")
    for failure in sorted((root / "logs" / "report").glob("*.error")):
        reason = failure.read_text(encoding="utf-8").strip()
        yield Job("report", f"report/{failure.stem}", page, "failed", reason, failure.with_suffix(".log"))


def _plain(study: Study, stage: str, output: Path) -> Job:
    """A job of which only its file says anything."""
    root = Path(study.results)
    log = _log(root, output)
    state, reason = _state(output, log, _began(study))
    return Job(stage, str(output.relative_to(root).with_suffix("")), output, state, reason, log)


def _chunks(study: Study, plan: Plan, cell: Cell) -> Iterator[Job]:
    """The jobs of a cell, with their images and seconds."""
    root = Path(study.results)
    suffix = "parquet" if cell.task == "classification" else "safetensors"
    planned = plan.cost(cell).hours * 3600 / study.images(cell)
    for chunk, (first, last) in enumerate(study.chunks(cell)):
        output = root / "cells" / cell.path / f"chunk-{chunk}.{suffix}"
        log, info = _log(root, output), Path(f"{output}.json")
        state, reason = _state(output, log, _began(study))
        spec = study.job_spec(cell.path, chunk)
        seconds = 0.0
        if state == "done" and info.exists():
            made = read_json(info)
            seconds = made["seconds"]
            if canonical(made["spec"]) != spec:
                state, seconds = "outdated", 0.0
        finished = last - first if state == "done" else _in_shards(json.loads(spec), suffix)
        name = f"{cell.path} (images {first} to {last - 1})"
        job = Job(f"{cell.task}, {cell.backbone}", name, output, state, reason, log)
        job.images, job.finished = last - first, finished
        job.seconds, job.seconds_planned = seconds, planned * (last - first)
        yield job


def _log(root: Path, output: Path) -> Path:
    return (root / "logs" / output.relative_to(root)).with_suffix(".log")


def _state(output: Path, log: Path, began: float) -> tuple[State, str]:
    if output.exists():
        return "done", ""
    failure = log.with_suffix(".error")
    if failure.exists():
        return "failed", failure.read_text(encoding="utf-8").strip()
    return ("started" if log.exists() and log.stat().st_mtime >= began else "waiting"), ""


def _began(study: Study) -> float:
    """When the latest run began, which wrote its plan then: older logs are of runs before it."""
    plan = Path(study.results, "plan.json")
    return plan.stat().st_mtime if plan.exists() else 0.0


def _in_shards(spec: dict[str, Any], suffix: str) -> int:
    """How many of a job's images are in shards or blocks that are kept."""
    first, last = spec["images"]
    kept: set[int] = set()
    for file in work_folder(spec).glob(f"images-*.{suffix}"):
        start, end = (int(part) for part in file.name.split("-")[1:3])
        kept |= set(range(max(start, first), min(end, last)))
    return len(kept)
