"""A warm process: it imports the libraries once and forks for every command, which then starts without them to load.

`bigain warm` waits at a socket. A `bigain` command that finds the socket in its environment hands itself over: its
arguments, environment, folder and standard streams go to a fork of the warm process, which runs it and answers with its
exit code. A fork is a process of its own, with the command's own files, log and exit code. Without the socket, or
with nobody at it, a command runs by itself. No torch here until the warm process loads it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

SOCKET = "BIGAIN_WARM"  # the environment's name for where the warm process listens
STARTED, LENGTH = b"s", 8

# For every process that runs models: glibc is to keep memory below 1 GiB. It gives that of every large tensor back to
# the kernel otherwise and faults it in again for the next one, which more than doubled the time of the embedded study's
# classification jobs on a small virtual machine. It reads this as a process starts; a fork has what it was forked from.
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "1073741824", "MALLOC_MMAP_THRESHOLD_": "1073741824"}


def hand_over(arguments: list[str]) -> int | None:
    """Let the warm process run a command: its exit code, or None if there is no warm process."""
    path = os.environ.get(SOCKET)
    if not path:
        return None
    request = {"arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}
    text = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(path)
            socket.send_fds(connection, [len(text).to_bytes(LENGTH, "big")], [0, 1, 2])
            connection.sendall(text)
            if connection.recv(1) != STARTED:
                return None
        except OSError:
            return None
        answer = connection.recv(1)
    if not answer:
        print("the process that this command was handed to was killed", file=sys.stderr)
        return 1
    return answer[0]


def serve(path: Path, run: Callable[[list[str]], int]) -> None:
    """Run commands in forks of this process until standard input ends, as it does when whoever started it has."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(256)
        _preload()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks answer by themselves
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            connection, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _run_fork(connection, run)
            connection.close()


def _preload() -> None:
    """Import what commands import: models, then numbers and pictures."""

    import bigain.backbones.dit
    import bigain.backbones.unet
    import bigain.jobs.classify
    import bigain.jobs.efficiency
    import bigain.jobs.encode
    import bigain.jobs.generate
    import bigain.jobs.probes
    import bigain.jobs.reference
    import bigain.reporting.page
    import bigain.reporting.table_files
    import bigain.score  # noqa: F401


def _run_fork(connection: socket.socket, run: Callable[[list[str]], int]) -> NoReturn:
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        head, streams, _, _ = socket.recv_fds(connection, LENGTH, 3)
        text = b""
        while len(text) < int.from_bytes(head, "big"):
            text += connection.recv(1 << 20)
        request = json.loads(text)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        del os.environ[SOCKET]
        sys.argv[1:] = request["arguments"]
        connection.sendall(STARTED)
        threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
        code = run(request["arguments"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        with contextlib.suppress(OSError):
            connection.sendall(bytes([code]))
        os._exit(code)


def _end_with(connection: socket.socket) -> None:
    """Die as soon as the command that this is done for does."""
    with contextlib.suppress(OSError):
        connection.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


class Warm:
    """A warm process of this one: started, named in the environment, and gone when this process is."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bigain-warm-")
        path = Path(self._folder.name, "socket")
        command = [sys.executable, "-m", "bigain", "warm", "--socket", str(path)]
        environment = os.environ | KEEP_MEMORY
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment)
        os.environ[SOCKET] = str(path)

    def stop(self) -> None:
        """Stop it; commands that it runs are ended by those they belong to."""
        os.environ.pop(SOCKET, None)
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()
