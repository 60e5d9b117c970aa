"""Run stages one after another, each in a process that is ended with all of its children when its time is up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.gpu.stages import Stage
from bench.rounds import Row

ROOT = Path(__file__).parents[2]
LOG_LINES = 40  # of a stage that was not done, kept in the results

Command = Callable[[Stage, Path, float], list[str]]  # runs a stage, which writes to a file, for at most some seconds


@dataclass
class Outcome:
    """What came out of a stage."""

    stage: str
    state: Literal["done", "failed", "stopped", "not run"]
    message: str = ""  # one line, if it is not done
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)
    log: list[str] = field(default_factory=list)  # the last lines that it printed, if it is not done

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return asdict(self)


def run_all(
    stages: Sequence[Stage], seconds: float, command: Command, environment: dict[str, str]
) -> Iterator[Outcome]:
    """Run stages in their order within some seconds in all; yield each one's outcome as soon as it is known."""
    deadline = time.monotonic() + seconds
    for stage in stages:
        left = deadline - time.monotonic()
        if left < stage.least:
            yield Outcome(stage.name, "not run", "no time left")
        else:
            yield run_one(stage, min(stage.limit, left), command, environment)


def run_one(stage: Stage, limit: float, command: Command, environment: dict[str, str]) -> Outcome:
    """Run a stage for at most `limit` seconds."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        file, log = Path(folder) / "rows.jsonl", Path(folder) / "log"
        with open(log, "w") as printed:
            process = subprocess.Popen(
                command(stage, file, limit),
                cwd=ROOT,
                env=environment | {"TMPDIR": folder},  # whatever a stage leaves when it is stopped goes with it
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                start_new_session=True,
            )
            try:
                code: int | None = process.wait(limit)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                end(process)
        said = [json.loads(line) for line in _lines(file) if line.endswith("}")]  # the last line may be cut
        lines = _lines(log)
    rows = [entry["row"] for entry in said if "row" in entry]
    errors = [entry["error"] for entry in said if "error" in entry]
    outcome = Outcome(stage.name, "failed", seconds=time.monotonic() - began, rows=rows, log=lines[-LOG_LINES:])
    if code is None:
        outcome.state, outcome.message = "stopped", f"stopped after {limit:.0f} s"
    elif errors:
        outcome.message = errors[-1]
    elif code < 0:
        outcome.message = f"ended by {signal.Signals(-code).name}" + _last(lines)
    elif code:
        outcome.message = f"ended with code {code}" + _last(lines)
    elif not rows or {"done": True} not in said:
        outcome.message = "ended without a result" + _last(lines)
    else:
        outcome.state, outcome.log = "done", []
    return outcome


def end(process: subprocess.Popen) -> None:
    """End a process, if it still runs, and everything that it has started, in whatever session or group."""
    started = descendants(process.pid)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pid in started:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def descendants(pid: int) -> list[int]:
    """Return the children of a process, their children, and so on; none where there is no /proc."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            parents[int(status.parent.name)] = int(status.read_text().rsplit(")", 1)[1].split()[1])
    found, new = [], {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        found += sorted(new)
    return found


def _lines(file: Path) -> list[str]:
    if not file.exists():
        return []
    return [line.rstrip() for line in file.read_text(errors="replace").splitlines() if line.strip()]


def _last(lines: list[str]) -> str:
    return f": {lines[-1].strip()}" if lines else ""
