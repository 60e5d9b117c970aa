"""Progress of a study: jobs done, failed (with the reason), under way and left, and the hours they took or will take.

All of it is read from files: outputs, their provenance, shards, and what failed jobs left. Nothing has to be running.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bigain.core.failures import failed_logs, reason_of
from bigain.core.provenance import read_provenance
from bigain.core.records import work_folder
from bigain.core.specs import CellJobSpec
from bigain.study.cost import StudyCost
from bigain.study.products import BESIDE_RESULTS, Product, examine, products
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


def failures(phases: list[Phase], stopped: Collection[Path] = ()) -> list[Job]:
    """Return the jobs that failed, and the started jobs whose output is in `stopped`.

    Other started jobs may still be running, in another run of the study.
    """
    jobs = [job for phase in phases for job in phase.jobs]
    return [job for job in jobs if job.state == "failed" or (job.state == "started" and job.output in stopped)]


def summary(study: Study, stopped: Collection[Path] = ()) -> str:
    """Return what a run prints at its end: failures first, then how many jobs are done and how long the rest takes.

    `stopped` are the outputs of the jobs that the run had planned, if it failed.
    """
    progress = phases(study)
    lines = failure_lines(failures(progress, stopped))
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
    return {"phase": phase.name, "hours_spent": phase.spent, "hours_left": phase.left, "jobs": jobs}


def hours(value: float) -> str:
    """Return a time with its unit: hours, minutes or seconds."""
    if value >= 1:
        return f"{value:.1f} hours"
    return f"{60 * value:.0f} minutes" if value >= 1 / 60 else f"{3600 * value:.0f} seconds"


def minutes_silent(job: Job) -> float:
    """Return the minutes since a started job last wrote to its log."""
    return (time.time() - job.log.stat().st_mtime) / 60 if job.log and job.log.exists() else 0.0


def _jobs(study: Study) -> Iterator[Job]:
    root, began = Path(study.results), _began(study)
    seconds_planned = _seconds_per_image(study)
    for product in products(study):
        if product.file.name in BESIDE_RESULTS:
            continue
        log = (root / "logs" / product.file.relative_to(root)).with_suffix(".log")
        state, reason = _state(product, log, began)
        job = Job(product.phase, str(product.file.relative_to(root).with_suffix("")), product.file, state, reason, log)
        if product.file in seconds_planned:
            _add_images(job, json.loads(product.spec()), seconds_planned[product.file])
        yield job
    page = Path(study.reports) / "index.html"
    yield Job("report", str(page), page, "done" if page.exists() else "waiting")
    for log in failed_logs(root / "logs" / "report"):
        if (reason_of_failure := reason_of(log, began)) is not None:
            yield Job("report", f"report/{log.stem}", page, "failed", reason_of_failure, log)


def _seconds_per_image(study: Study) -> dict[Path, float]:
    """Return the planned seconds per image of every classification and generation job, by its output."""
    cost = StudyCost(study)
    seconds: dict[Path, float] = {}
    for cell in study.cells:
        per_image = cost.cost(cell).hours * 3600 / study.images(cell)
        seconds |= dict.fromkeys(map(Path, study.chunk_files(cell)), per_image)
    return seconds


def _add_images(job: Job, spec: CellJobSpec, seconds_per_image: float) -> None:
    """Add to the job of a cell its images, how many are finished, the seconds it has taken and those planned."""
    first, last = spec["images"]
    job.images, job.seconds_planned = last - first, seconds_per_image * (last - first)
    job.name = f"{Path(job.name).parent.relative_to('cells')} (images {first} to {last - 1})"
    if job.state == "done":
        job.finished, job.seconds = last - first, read_provenance(job.output)["seconds"]
    else:
        job.finished = images_in_shards(spec, job.output.suffix)


def _state(product: Product, log: Path, began: float) -> tuple[State, str]:
    """Return the state of a job, and why if it failed or its output cannot be used."""
    finding = examine(product)
    if finding is None:
        return "done", ""
    reason = reason_of(log, began)
    if reason is not None:
        return "failed", reason
    if finding.state == "outdated":
        return "outdated", ""
    if finding.state != "missing":
        return "failed", finding.message
    return ("started" if log.exists() and log.stat().st_mtime >= began else "waiting"), ""


def _began(study: Study) -> float:
    """Return when the latest run began, and wrote its plan. Older logs belong to earlier runs."""
    plan = Path(study.results, "plan.json")
    return plan.stat().st_mtime if plan.exists() else 0.0


def images_in_shards(spec: CellJobSpec, suffix: str) -> int:
    """Return how many of a job's images are in shards."""
    first, last = spec["images"]
    stored: set[int] = set()
    for file in work_folder(spec).glob(f"images-*{suffix}"):
        start, end = (int(part) for part in file.name.split("-")[1:3])
        stored |= set(range(max(start, first), min(end, last)))
    return len(stored)
