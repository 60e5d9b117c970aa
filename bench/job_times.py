"""List where a finished study spent its time, from Snakemake's records: `python -m bench.job_times [FOLDER]`.

Snakemake keeps the start and end of every job in `.snakemake/metadata`, one record per output file.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer


@dataclass(frozen=True)
class Job:
    """One job of a study: its rule, its log, and when it ran (seconds since the epoch)."""

    rule: str
    log: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Return the wall time of the job."""
        return self.end - self.start


def read_jobs(folder: Path) -> list[Job]:
    """Return the recorded jobs, longest first. Raises FileNotFoundError if Snakemake has not run in `folder`."""
    metadata = folder / ".snakemake" / "metadata"
    if not metadata.is_dir():
        raise FileNotFoundError(f"{metadata} does not exist: Snakemake has not run in {folder}")
    records = [json.loads(file.read_text(encoding="utf-8")) for file in metadata.rglob("*") if file.is_file()]
    spans: dict[tuple[str, str], tuple[float, float]] = {}
    for record in records:
        if record.get("endtime"):  # the outputs of a job share its log; only the times of their records differ
            key = record["rule"], record["log"][0] if record["log"] else ""
            start, end = spans.get(key, (record["starttime"], record["endtime"]))
            spans[key] = min(start, record["starttime"]), max(end, record["endtime"])
    jobs = [Job(rule, log, start, end) for (rule, log), (start, end) in spans.items()]
    return sorted(jobs, key=lambda job: job.seconds, reverse=True)


def page(jobs: list[Job], longest: int) -> str:
    """Return Markdown: the seconds of every rule, then the longest jobs."""
    rules: dict[str, list[float]] = defaultdict(list)
    for job in jobs:
        rules[job.rule].append(job.seconds)
    wall = max(job.end for job in jobs) - min(job.start for job in jobs)
    total = sum(job.seconds for job in jobs)
    lines = [f"{len(jobs)} jobs, {total:.0f} seconds of jobs in {wall:.0f} seconds", ""]
    lines += ["| rule | jobs | seconds |", "|---|---|---|"]
    by_time = sorted(rules.items(), key=lambda item: -sum(item[1]))
    lines += [f"| {rule} | {len(seconds)} | {sum(seconds):.0f} |" for rule, seconds in by_time]
    lines += ["", "| job | seconds |", "|---|---|"]
    lines += [f"| {job.rule}: {job.log} | {job.seconds:.0f} |" for job in jobs[:longest]]
    return "\n".join(lines)


def main(
    folder: Annotated[Path, typer.Argument(help="the folder in which Snakemake ran")] = Path(),
    longest: Annotated[int, typer.Option(help="how many single jobs are listed")] = 5,
) -> None:
    """Print the time of every rule and of the longest jobs."""
    typer.echo(page(read_jobs(folder), longest))


if __name__ == "__main__":
    typer.run(main)
