"""A fork server: a process that imports the libraries once and forks for every command, which then starts instantly.

`bigain warm` listens at a Unix socket that has a name but no file: however a study ends, no file is left behind. A
`bigain` command that finds the name in its environment hands itself over: its arguments, environment, folder and
standard streams go to a fork of the server, which runs it. The fork is a process of its own, with its own files, log
and exit code. A second fork watches it, answers with the exit code, and kills the command when the process that
handed it over is gone. Without the name, or if nobody listens, a command runs in its own process. This module does not
import torch until the server starts.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from bigain.core import gpu_locks
from bigain.core.places import importing_this_package

SUPPORTED = sys.platform == "linux"  # other systems have no sockets without files
SOCKET = "BIGAIN_WARM"  # environment variable with the name of the socket
STARTED, LENGTH = b"s", 8  # the server's first answer; bytes of a request's length

# For every process that runs models: glibc is to keep memory below 1 GiB. Otherwise it gives that of every large tensor
# back to the kernel and faults it in again for the next one, which more than doubled the time of the embedded study's
# classification jobs on a small virtual machine. glibc reads this as a process starts; a fork inherits it.
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "1073741824", "MALLOC_MMAP_THRESHOLD_": "1073741824"}

# A fork cannot use CUDA once its parent has asked it anything, and diffusers asks as it is imported whether there is a
# GPU. With this, torch asks the driver's management library instead, which leaves CUDA alone.
LEAVE_CUDA = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}

Runner = Callable[[list[str]], int]  # runs a command by its arguments and returns its exit code


class ForkServer:
    """A fork server that this process starts and names in its environment, and that ends with this process."""

    def __init__(self) -> None:
        name = f"bigain-warm-{secrets.token_hex(16)}"
        command = [sys.executable, "-m", "bigain", "warm", "--socket", name]
        environment = os.environ | importing_this_package() | KEEP_MEMORY | LEAVE_CUDA
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment)
        os.environ[SOCKET] = name

    def stop(self) -> None:
        """Stop the server. Commands that still run are ended by the processes that handed them over."""
        os.environ.pop(SOCKET, None)
        assert self._process.stdin is not None  # a pipe, see above
        self._process.stdin.close()
        self._process.wait()


def hand_over(arguments: list[str]) -> int | None:
    """Let the fork server run a command. Return its exit code, or None if there is no server."""
    name = os.environ.get(SOCKET)
    if not name:
        return None
    request = {"arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}
    text = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(_address(name))
            if not _is_same_user(connection):
                return None
            socket.send_fds(connection, [len(text).to_bytes(LENGTH, "big")], [0, 1, 2])
            connection.sendall(text)
            if connection.recv(1) != STARTED:
                return None
        except OSError:
            return None
        code = connection.recv(1)
    if not code:
        print("the process that ran this command was killed", file=sys.stderr)
        return 1
    return code[0]


def _address(name: str) -> str:
    """Return the address of a socket without a file, in Linux's abstract namespace."""
    return f"\0{name}"


def _is_same_user(connection: socket.socket) -> bool:
    """Return whether the other end belongs to this user, since an abstract socket has no file permissions."""
    credentials = struct.Struct("3i")  # process, user, group
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    return credentials.unpack(peer)[1] == os.getuid()


def serve(name: str, run: Runner) -> None:
    """Run commands in forks of this process until standard input ends, that is, until the parent is gone."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(_address(name))
        listener.listen(256)
        _preload()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks: they answer themselves
        while not _readable(sys.stdin, listener):
            connection, _ = listener.accept()
            if _is_same_user(connection) and os.fork() == 0:
                listener.close()
                _watch(connection, run)
            connection.close()


def _preload() -> None:
    """Import the modules that commands import, and with them PyTorch, diffusers and matplotlib."""
    import bigain.backbones.dit
    import bigain.backbones.unet
    import bigain.reporting.figures
    import bigain.reporting.page
    import bigain.reporting.table_files  # noqa: F401
    from bigain.jobs import batch, classify, efficiency, encode, generate, margins, probes, reference, score  # noqa: F401


def _readable(first: Any, second: Any) -> bool:
    """Wait until one of two streams is readable, and return whether the first is."""
    return first in select.select([first, second], [], [])[0]


def _watch(connection: socket.socket, run: Runner) -> NoReturn:
    """Run a command in a fork, answer with its exit code, and kill it once the process that handed it over is gone.

    The watcher has to be a process: a thread beside the command would wait for the interpreter's lock, which a library
    may hold for as long as it reads a file.
    """
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # this process waits for the command, a command for its own
        head, streams, _, _ = socket.recv_fds(connection, LENGTH, 3)
        with connection.makefile("rb") as rest:
            request = json.loads(rest.read(int.from_bytes(head, "big")))
        ended, running = os.pipe()  # the command alone holds `running`, so `ended` becomes readable when it ends
        os.set_inheritable(running, True)  # also by a command that starts again, see `_run`
        command = os.fork()
        if command == 0:
            os.close(ended)
            _run(request, streams, connection, run)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt ends the command, which is answered for
        for held in (running, *streams):
            os.close(held)
        _readable(ended, connection)  # nothing is written to either: a readable one is closed
        if not select.select([ended], [], [], 0)[0]:
            os.kill(command, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
        if code >= 0:  # negative if the command was killed, which closes the connection without an answer
            connection.sendall(bytes([code]))
    except (OSError, ValueError):  # whoever handed the command over is gone
        pass
    finally:
        os._exit(0)


def _run(request: dict[str, Any], streams: list[int], connection: socket.socket, run: Runner) -> NoReturn:
    """Become the command: take over its streams, folder, environment and arguments."""
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
    except Exception:  # of this function: a command's own are its exit code
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _cuda_is_lost() -> bool:
    """Return whether there is a GPU that this fork cannot use because its parent has queried CUDA."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda._is_in_bad_fork() and bool(gpu_locks.visible_gpus())
