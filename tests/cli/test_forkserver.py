"""The fork server: a command that it runs is the command itself, only sooner."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import torch

from bigain.cli.forkserver import KEEP_MEMORY, LENGTH, SOCKET, ForkServer, hand_over


def bigain(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "bigain", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=300)


@pytest.fixture(scope="module")
def server():
    """The name of a fork server's socket."""
    process = ForkServer()
    name = os.environ[SOCKET]
    wait_until(lambda: name in sockets())
    yield name
    process.stop()
    assert SOCKET not in os.environ
    assert name not in sockets()


@pytest.mark.system
def test_what_commands_import_is_loaded_ahead():
    loaded = "{*sys.modules} >= {'torch', 'diffusers', 'matplotlib', 'bigain.jobs.classify', 'bigain.reporting.page'}"
    code = f"import sys; from bigain.cli import forkserver; forkserver._preload(); sys.exit(not {loaded})"
    assert subprocess.run([sys.executable, "-c", code], timeout=300).returncode == 0


def test_without_a_fork_server_a_command_runs_by_itself(monkeypatch):
    monkeypatch.delenv(SOCKET, raising=False)
    assert hand_over(["methods"]) is None
    monkeypatch.setenv(SOCKET, "nobody")
    assert hand_over(["methods"]) is None
    listed = bigain("methods")
    assert (listed.returncode, "bigain_tm" in listed.stdout) == (0, True)


def test_a_killed_study_leaves_no_file_of_its_fork_server_behind(tmp_path):
    code = (
        f"import os, time; from bigain.cli.forkserver import *; ForkServer(); print(os.environ['{SOCKET}'], flush=True)"
    )
    command, environment = [sys.executable, "-c", f"{code}; time.sleep(60)"], {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True) as study:
        name = study.stdout.readline().strip()
        wait_until(lambda: name in sockets())
        os.killpg(study.pid, signal.SIGKILL)
    wait_until(lambda: name not in sockets())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("server_s", "command_s", "code"), [(0, 0, 7), (1, 0, None), (0, 1, None)], ids=["same", "server's", "command's"]
)
def test_nothing_is_handed_over_between_users(monkeypatch, server_s, command_s, code):
    """Any user can reach a socket without a file; both ends refuse a peer that is not who they are."""
    name, user = f"bigain-warm-test-{os.getpid()}", os.getuid()
    imports = "import os; from bigain.cli import forkserver; forkserver._preload = lambda: None"
    server = f"{imports}; os.getuid = lambda: {user + server_s}; forkserver.serve('{name}', lambda arguments: 7)"
    monkeypatch.setenv(SOCKET, name)
    with subprocess.Popen([sys.executable, "-c", server], stdin=subprocess.PIPE):
        wait_until(lambda: name in sockets())
        monkeypatch.setattr(os, "getuid", lambda: user + command_s)
        assert hand_over(["methods"]) == code


@pytest.mark.system
def test_forks_keep_memory_as_jobs_of_their_own_do(monkeypatch):
    """glibc reads its settings as a process starts, so a fork can have them only from the server."""
    for name in KEEP_MEMORY:
        monkeypatch.delenv(name, raising=False)
    process = ForkServer()
    (started,) = (child for child in psutil.Process().children() if "warm" in child.cmdline())
    assert started.environ().items() >= KEEP_MEMORY.items()
    process.stop()


@pytest.mark.system
@pytest.mark.parametrize(
    "arguments", [["methods"], ["nonsense"], ["table", "x"], ["flops", "--backbone", "none/at/all"]]
)
def test_output_and_exit_code_are_the_command_s_own(server, arguments):
    cold, forked = bigain(*arguments, **{SOCKET: ""}), bigain(*arguments, **{SOCKET: server})
    assert (forked.returncode, forked.stdout) == (cold.returncode, cold.stdout)
    assert forked.stderr == cold.stderr


@pytest.mark.system
def test_a_job_s_records_are_the_same_bit_for_bit(server, root, tmp_path, monkeypatch):
    from bigain.core.records import canonical
    from bigain.jobs.encode import encode_conditions, encode_images
    from tests.helpers.jobs import FASHION, backbone_spec, classification

    monkeypatch.chdir(root)
    common = {"backbone": backbone_spec("unet"), "dataset": FASHION, "threads": 2}
    encode_images(common | {"images": 8}, tmp_path / "latents.safetensors")
    encode_conditions(common | {"captions": 0}, tmp_path / "conditions.safetensors")
    for name, where in (("cold", ""), ("forked", server)):
        spec = classification("unet", "tome", tmp_path / name) | {"threads": 2}
        files = ["--latents", tmp_path / "latents.safetensors", "--conditions", tmp_path / "conditions.safetensors"]
        written = ["--output", tmp_path / f"{name}.parquet", "--info", tmp_path / f"{name}.parquet.json"]
        completed = bigain("classify", "--spec", canonical(spec), *map(str, files + written), **{SOCKET: where})
        assert completed.returncode == 0, completed.stderr
    cold, forked = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("cold", "forked"))
    assert cold.equals(forked)


@pytest.fixture(params=[{}, {"CUDA_VISIBLE_DEVICES": "0"}], ids=["fork", "fork that shall use a GPU"])
def stuck(request, server, tmp_path):
    """A command whose fork opens a pipe that nobody writes to, in a library that keeps the interpreter's lock.

    With a GPU in its environment, and no driver here that says so without CUDA, it has lost CUDA and starts again.
    """
    os.mkfifo(tmp_path / "features")
    command = [sys.executable, "-m", "bigain", "statistics", "--reference", "features", "--output", "x.npz"]
    environment = {**os.environ, SOCKET: server, **request.param}
    stuck = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: len(processes_in(tmp_path)) == 2 and at_rest(tmp_path))
        yield stuck
    finally:
        stuck.kill()
        stuck.communicate()


@pytest.mark.system
def test_a_killed_command_takes_its_fork_with_it(stuck, tmp_path):
    stuck.send_signal(signal.SIGKILL)
    stuck.wait()
    wait_until(lambda: not processes_in(tmp_path))


@pytest.mark.system
@pytest.mark.skipif(torch.cuda.is_available(), reason="here the driver says how many GPUs there are without CUDA")
def test_a_fork_that_has_lost_cuda_starts_again_where_there_is_a_gpu(stuck, request, tmp_path):
    started = [process for process in processes_in(tmp_path) if "warm" not in psutil.Process(process).cmdline()]
    assert len(started) == (2 if request.node.callspec.params["stuck"] else 1)


@pytest.mark.system
def test_a_killed_fork_fails_its_command(stuck, tmp_path):
    (fork,) = set(processes_in(tmp_path)) - {stuck.pid}
    os.kill(fork, signal.SIGKILL)
    _, message = stuck.communicate(timeout=60)
    assert (stuck.returncode, message) == (1, "the process that ran this command was killed\n")


@pytest.mark.system
def test_a_request_that_breaks_off_leaves_the_server_at_work(server):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"\0{server}")
        socket.send_fds(connection, [(100).to_bytes(LENGTH, "big")], [0, 1, 2])
        connection.sendall(b"{")
    listed = bigain("methods", **{SOCKET: server})
    assert (listed.returncode, "bigain_tm" in listed.stdout) == (0, True)


def wait_until(holds, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def sockets() -> set[str]:
    """The names of this machine's sockets without files."""
    return {line.split("@")[-1] for line in Path("/proc/net/unix").read_text().splitlines()}


def processes_in(folder: Path) -> list[int]:
    """The processes of this machine that work in a folder."""
    return [int(process.name) for process in Path("/proc").glob("[0-9]*") if folder_of(process) == folder]


def at_rest(folder: Path) -> bool:
    """Whether the processes that work in a folder have taken no processor time for a second."""
    before = [psutil.Process(number).cpu_times() for number in processes_in(folder)]
    time.sleep(1)
    return before == [psutil.Process(number).cpu_times() for number in processes_in(folder)]


def folder_of(process: Path) -> Path | None:
    try:
        return (process / "cwd").readlink()
    except OSError:  # it has just ended
        return None
