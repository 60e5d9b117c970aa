"""A warm process: it imports the libraries once and forks for every command, which then starts without them to load.

`bigain warm` waits at a socket. A `bigain` command that finds the socket in its environment hands itself over: its
arguments, environment, folder and standard streams go to a fork of the warm process, which runs it. A fork is a process
of its own, with the command's own files, log and exit code; another beside it waits for its end, to answer with that
code, and ends it when the command that was handed over is killed. Without the socket, or with nobody at it, a command
runs by itself. No torch here until the warm process loads it.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from bigain.core import gpu_locks

SOCKET = "BIGAIN_WARM"  # the environment's name for where the warm process listens
STARTED, LENGTH = b"s", 8
PRELOADED = (
    *("backbones.dit", "backbones.unet", "reporting.page", "reporting.table_files"),
    *(f"jobs.{name}" for name in ("classify", "efficiency", "encode", "generate", "probes", "reference", "score")),
)

# For every process that runs models: glibc is to keep memory below 1 GiB. It gives that of every large tensor back to
# the kernel otherwise and faults it in again for the next one, which more than doubled the time of the embedded study's
# classification jobs on a small virtual machine. It reads this as a process starts; a fork has what it was forked from.
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "1073741824", "MALLOC_MMAP_THRESHOLD_": "1073741824"}

# A fork cannot use CUDA once its parent has asked it anything, and diffusers asks as it is imported whether there is a
# GPU. With this, torch asks the driver's management library instead, which leaves CUDA alone.
LEAVE_CUDA = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}


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
                _watch(connection, run)
            connection.close()


def _preload() -> None:
    """Import the modules that commands import, and with them PyTorch, diffusers and matplotlib."""
    for module in PRELOADED:
        importlib.import_module(f"bigain.{module}")


def _watch(connection: socket.socket, run: Callable[[list[str]], int]) -> NoReturn:
    """Run a command in a fork of this one, answer with its exit code, and end it as soon as who asked for it has gone.

    A process of its own watches, since a thread beside the command would have to wait for the interpreter's lock, which
    a library may hold for as long as it reads a file.
    """
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a command waits for processes of its own, as this one does
        head, streams, _, _ = socket.recv_fds(connection, LENGTH, 3)
        with connection.makefile("rb") as rest:
            request = json.loads(rest.read(int.from_bytes(head, "big")))
        ended, running = os.pipe()
        os.set_inheritable(running, True)  # for a command that starts again: see `_run`
        command = os.fork()
        if command == 0:
            os.close(ended)
            _run(request, streams, connection, run)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command is interrupted, and answered for
        for held in (running, *streams):
            os.close(held)
        select.select([connection, ended], [], [])  # nothing is written to either: the first to close has ended
        if not select.select([ended], [], [], 0)[0]:
            os.kill(command, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
        if code >= 0:  # a killed command is not answered for
            connection.sendall(bytes([code]))
    except (OSError, ValueError):  # who asked for the command has gone
        pass
    finally:
        os._exit(0)


def _run(request: dict, streams: list[int], connection: socket.socket, run: Callable[[list[str]], int]) -> NoReturn:
    """Be the command, with the streams, folder, environment and arguments of who asked for it."""
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        del os.environ[SOCKET]
        sys.argv[1:] = request["arguments"]
        connection.sendall(STARTED)
        connection.close()
        if _cuda_is_lost():
            os.execv(sys.executable, [sys.executable, "-m", "bigain", *request["arguments"]])
        code = run(request["arguments"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _cuda_is_lost() -> bool:
    """Whether this machine has a GPU that this fork cannot use, because its parent asked CUDA something after all."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda._is_in_bad_fork() and bool(gpu_locks.listed())


class Warm:
    """A warm process of this one: started, named in the environment, and gone when this process is."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bigain-warm-")
        path = Path(self._folder.name, "socket")
        command = [sys.executable, "-m", "bigain", "warm", "--socket", str(path)]
        environment = os.environ | KEEP_MEMORY | LEAVE_CUDA
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment)
        os.environ[SOCKET] = str(path)

    def stop(self) -> None:
        """Stop it; commands that it runs are ended by those they belong to."""
        os.environ.pop(SOCKET, None)
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()
