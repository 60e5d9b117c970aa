"""End a process with everything that it has started, and a process whose parent is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

MARK = "BENCH_GPU_STAGE"  # in the environment of a stage's processes: its folder
GRACE = 10.0  # seconds until a killed process is given up, which a driver that hangs keeps alive


def end(process: subprocess.Popen, mark: str) -> None:
    """End a process, if it still runs, and everything that it has started, in whatever session or group.

    What its parent has left behind is no longer among its descendants; it has the mark in its environment.
    """
    for _ in range(3):  # one of them may start another before it is ended
        started = {*descendants(process.pid), *marked(mark)}
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for pid in started:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not started:
            break
        time.sleep(0.02)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)


def descendants(pid: int) -> list[int]:
    """Return the children of a process, their children, and so on; none where there is no /proc."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            parents[int(status.parent.name)] = int(status.read_text().rsplit(")", 1)[1].split()[1])
    children, new = [], {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        children += sorted(new)
    return children


def marked(mark: str) -> list[int]:
    """Return the processes with a mark in their environment; none where there is no /proc."""
    entry, pids = f"{MARK}={mark}".encode(), []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if entry in environment.read_bytes().split(b"\0"):
                pids.append(int(environment.parent.name))
    return pids


def end_with_parent(every: float = 1.0) -> None:
    """End this process and its group soon after its parent is gone, which otherwise leaves it with the device.

    Only a process that leads a group of its own, as a stage's does.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(every)
        os.killpg(os.getpid(), signal.SIGKILL)

    if os.getpgid(0) == os.getpid():
        threading.Thread(target=watch, daemon=True).start()
