"""Progress of a study: jobs done, failed (with the reason), under way and left, and the hours they took or will take.

All of it is read from files: outputs, shards, what failed jobs left beside their logs. Nothing has to be running.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bigain.core.failures import failed_logs, reason_of
from bigain.core.files import read_json
from bigain.core.records import canonical, work_folder
from bigain.core.specs import CellJobSpec
from bigain.study.cell_specs import job_spec
from bigain.study.cells import Cell
from bigain.study.cost import StudyCost
from bigain.study.study import Study

State = Literal["done", "outdated", "failed", "started", "waiting"]
NO_MESSAGE = "stopped without a message: killed, out of memory, or over its time limit"


@dataclass
class Job:
    """A job and its progress. `outdated`: its output exists, but its settings or its code have changed since.

    `finished` of its `images` are in shards; `seconds` is what it has taken so far.
    """

    phase: str
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
class Phase:
    """The jobs of one phase of the workflow: inputs, cells of a task and backbone, metrics, measurements, report."""

    name: str
    jobs: list[Job] = field(default_factory=list)

    def count(self, *states: State) -> int:
        """Return how many jobs are in one of these states."""
        return sum(job.state in states for job in self.jobs)

    @property
    def spent(self) -> float:
        """Hours that the jobs have taken so far."""
        return sum(job.seconds for job in self.jobs) / 3600

    @property
    def left(self) -> float:
        """Hours left, at the pace of the jobs so far; before the first, as planned."""
        done = sum(job.seconds_planned * _share(job) for job in self.jobs if job.seconds)
        pace = sum(job.seconds for job in self.jobs) / done if done else 1.0
        missing = sum(job.seconds_planned * (1 - _share(job)) for job in self.jobs)
        return pace * missing / 3600


def _share(job: Job) -> float:
    """Return the finished fraction of a job."""
    if job.state == "done":
        return 1.0
    return job.finished / job.images if job.images else 0.0


def phases(study: Study) -> list[Phase]:
    """Return every job of a study by phase, in the order in which they run."""
    by_name: dict[str, Phase] = {}
    for job in _jobs(study):
        by_name.setdefault(job.phase, Phase(job.phase)).jobs.append(job)
    return list(by_name.values())


def failures(phases: list[Phase], ended: bool) -> list[Job]:
    """Return the jobs that failed. Once the run has `ended`, jobs that were started and left no output count too."""
    jobs = [job for phase in phases for job in phase.jobs]
    return [job for job in jobs if job.state == "failed" or (ended and job.state == "started")]


def summary(study: Study, ended: bool) -> str:
    """Return what a run prints at its end: failures first, then how many jobs are done and how long the rest takes."""
    progress = phases(study)
    lines = failure_lines(failures(progress, ended))
    jobs = sum(len(phase.jobs) for phase in progress)
    done = sum(phase.count("done") for phase in progress)
    spent, left = sum(phase.spent for phase in progress), sum(phase.left for phase in progress)
    lines.append(f"{study.name}: {done} of {jobs} jobs done, {hours(spent)} of model jobs spent, {hours(left)} left")
    return "\n".join([*lines, "(`bigain status` says more)" if lines[1:] else ""]).rstrip()


def failure_lines(failed: list[Job]) -> list[str]:
    """Return a line per reason of failure, with the first job that it stopped."""
    by_reason: dict[str, list[Job]] = {}
    for job in failed:
        by_reason.setdefault(job.reason or NO_MESSAGE, []).append(job)
    lines = []
    for reason, jobs in by_reason.items():
        more = f" and {len(jobs) - 1} more" if jobs[1:] else ""
        lines.append(f"FAILED {jobs[0].name}{more}: {reason} (see {jobs[0].log})")
    return lines


def as_dict(phase: Phase) -> dict[str, Any]:
    """Return a phase as `bigain status --json` prints it."""
    jobs = [
        {"name": job.name, "state": job.state, "reason": job.reason, "images": job.images, "finished": job.finished}
        for job in phase.jobs
    ]
    return {"stage": phase.name, "hours_spent": phase.spent, "hours_left": phase.left, "jobs": jobs}


def hours(value: float) -> str:
    """Return a time with its unit: hours, minutes or seconds."""
    if value >= 1:
        return f"{value:.1f} hours"
    return f"{60 * value:.0f} minutes" if value >= 1 / 60 else f"{3600 * value:.0f} seconds"


def minutes_silent(job: Job) -> float:
    """Return the minutes since a started job last wrote to its log."""
    return (time.time() - job.log.stat().st_mtime) / 60 if job.log and job.log.exists() else 0.0


def _jobs(study: Study) -> Iterator[Job]:
    root = Path(study.results)
    for backbone, dataset in dict.fromkeys((cell.backbone, cell.dataset) for cell in study.cells):
        tasks = {cell.task for cell in study.cells if (cell.backbone, cell.dataset) == (backbone, dataset)}
        for name in ("latents", "conditions"):
            if name == "conditions" or "classification" in tasks:
                yield _without_images(study, "inputs", root / "inputs" / backbone / dataset / f"{name}.safetensors")
    for dataset in dict.fromkeys(cell.dataset for cell in study.cells if cell.task == "generation"):
        yield _without_images(study, "inputs", root / "inputs" / "reference" / f"{dataset}.safetensors")
    for cell in study.cells:
        yield from (_without_images(study, "calibration", Path(file)) for file in study.calibration_files(cell.path))
    cost = StudyCost(study)
    for cell in study.cells:
        yield from _chunks(study, cost, cell)
    for file in study.score_files():
        yield _without_images(study, "metrics", Path(file))
    yield _without_images(study, "metrics", root / "results.parquet")
    for backbone in study.backbones():
        yield _without_images(study, "measurements", root / "efficiency" / f"{backbone}.csv")
    for backbone, dataset in study.probed():
        yield _without_images(study, "measurements", root / "probes" / backbone / dataset / "spectrum.parquet")
    for backbone, dataset in study.shown():
        yield _without_images(study, "measurements", root / "probes" / backbone / dataset / "tokens.safetensors")
    page = Path(study.reports) / "index.html"
    yield Job("report", str(page), page, "done" if page.exists() else "waiting")
    for log in failed_logs(root / "logs" / "report"):
        if (reason := reason_of(log, _began(study))) is not None:
            yield Job("report", f"report/{log.stem}", page, "failed", reason, log)


def _without_images(study: Study, phase: str, output: Path) -> Job:
    """Return a job whose progress shows only in its output: there or not."""
    root = Path(study.results)
    log = _log(root, output)
    state, reason = _state(output, log, _began(study))
    return Job(phase, str(output.relative_to(root).with_suffix("")), output, state, reason, log)


def _chunks(study: Study, cost: StudyCost, cell: Cell) -> Iterator[Job]:
    """Yield the classification or generation jobs of a cell, with their images and seconds."""
    root = Path(study.results)
    planned = cost.cost(cell).hours * 3600 / study.images(cell)
    files = map(Path, study.chunk_files(cell))
    for chunk, (output, (first, last)) in enumerate(zip(files, study.chunks(cell), strict=True)):
        log, info = _log(root, output), Path(f"{output}.json")
        state, reason = _state(output, log, _began(study))
        spec = job_spec(study, cell, chunk)
        seconds = 0.0
        if state == "done" and info.exists():
            provenance = read_json(info)
            seconds = provenance["seconds"]
            if canonical(provenance["spec"]) != canonical(spec):
                state, seconds = "outdated", 0.0
        finished = last - first if state == "done" else _in_shards(spec, output.suffix)
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
    reason = reason_of(log, began)
    if reason is not None:
        return "failed", reason
    return ("started" if log.exists() and log.stat().st_mtime >= began else "waiting"), ""


def _began(study: Study) -> float:
    """Return when the latest run began, and wrote its plan. Older logs belong to earlier runs."""
    plan = Path(study.results, "plan.json")
    return plan.stat().st_mtime if plan.exists() else 0.0


def _in_shards(spec: CellJobSpec, suffix: str) -> int:
    """Return how many of a job's images are in files of intermediate results."""
    first, last = spec["images"]
    stored: set[int] = set()
    for file in work_folder(spec).glob(f"images-*{suffix}"):
        start, end = (int(part) for part in file.name.split("-")[1:3])
        stored |= set(range(max(start, first), min(end, last)))
    return len(stored)
