"""Run stages one after another, each in a process that is ended with all of its children when its time is up.

Rows are read while a stage runs, so that a run that is killed has lost at most two seconds of them.
"""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.gpu.processes import MARK, end
from bench.gpu.stages import Stage
from bench.rounds import Row

ROOT = Path(__file__).parents[2]
EVERY = 2.0  # seconds between looks at what a stage has so far
LOG_LINES = 40  # of a stage that was not done, kept in the results

Command = Callable[[Stage, Path, float], list[str]]  # runs a stage, which writes to a file, for at most some seconds


@dataclass
class Outcome:
    """What came out of a stage."""

    stage: str
    state: Literal["running", "done", "failed", "stopped", "not run"]
    message: str = ""  # one line, if it is not done
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)
    log: list[str] = field(default_factory=list)  # the last lines that it printed, if it is not done
    interrupted: bool = False  # by Ctrl-C or a signal to this process

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return asdict(self)


def run_all(
    stages: Sequence[Stage], seconds: float, command: Command, environment: dict[str, str]
) -> Iterator[Outcome]:
    """Run stages in their order within some seconds in all. Yield each one's outcome as soon as it is known, and while
    it runs what it has so far. Ctrl-C ends the stage that runs, and no other is started."""
    deadline = time.monotonic() + seconds
    for stage in stages:
        left = deadline - time.monotonic()
        if left < stage.least:
            yield Outcome(stage.name, "not run", "no time left")
            continue
        interrupted = False
        for outcome in run_one(stage, min(stage.limit, left), command, environment):
            interrupted = outcome.interrupted
            yield outcome
        if interrupted:
            return


def run_one(stage: Stage, limit: float, command: Command, environment: dict[str, str]) -> Iterator[Outcome]:
    """Run a stage for at most `limit` seconds; yield what it has so far whenever there is more, and its outcome."""
    began = time.monotonic()
    code: int | None = None
    interrupted, seen = False, 0
    with tempfile.TemporaryDirectory(prefix="bench-gpu-", ignore_cleanup_errors=True) as folder:
        file, log = Path(folder) / "rows.jsonl", Path(folder) / "log"
        with open(log, "w") as printed:
            process = subprocess.Popen(
                command(stage, file, limit),
                cwd=ROOT,
                env=environment | {"TMPDIR": folder, MARK: folder},  # what a stopped stage leaves goes with the folder
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                start_new_session=True,
            )
            try:
                while code is None and (left := began + limit - time.monotonic()) > 0:
                    with suppress(subprocess.TimeoutExpired):
                        code = process.wait(min(left, EVERY))
                    rows = [entry["row"] for entry in _said(file) if "row" in entry]
                    if code is None and len(rows) > seen:
                        seen = len(rows)
                        yield Outcome(stage.name, "running", "not finished", time.monotonic() - began, rows)
            except KeyboardInterrupt:
                interrupted = True
            finally:
                end(process, folder)
        said, lines = _said(file), _lines(log)
    outcome = _outcome(stage.name, time.monotonic() - began, code, said, lines)
    if code is None:
        outcome.state, outcome.interrupted = "stopped", interrupted
        outcome.message = f"{'interrupted' if interrupted else 'stopped'} after {outcome.seconds:.0f} s"
    yield outcome


def _outcome(stage: str, seconds: float, code: int | None, said: list[dict[str, Any]], lines: list[str]) -> Outcome:
    """Return the outcome of a stage that ended by itself, from what it wrote and printed."""
    rows = [entry["row"] for entry in said if "row" in entry]
    errors = [entry["error"] for entry in said if "error" in entry]
    outcome = Outcome(stage, "failed", seconds=seconds, rows=rows, log=lines[-LOG_LINES:])
    if errors:
        outcome.message = errors[-1]
    elif code is not None and code < 0:
        outcome.message = f"ended by {signal.Signals(-code).name}" + _last(lines)
    elif code:
        outcome.message = f"ended with code {code}" + _last(lines)
    elif not rows or {"done": True} not in said:
        outcome.message = "ended without a result" + _last(lines)
    else:
        outcome.state, outcome.log = "done", []
    return outcome


def _said(file: Path) -> list[dict[str, Any]]:
    """Return what a stage has written so far, without a last line that is cut."""
    said = []
    for line in _lines(file):
        with suppress(json.JSONDecodeError):
            said.append(json.loads(line))
    return said


def _lines(file: Path) -> list[str]:
    if not file.exists():
        return []
    return [line.rstrip() for line in file.read_text(errors="replace").splitlines() if line.strip()]


def _last(lines: list[str]) -> str:
    return f": {lines[-1].strip()}" if lines else ""
