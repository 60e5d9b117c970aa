"""The warm process: a handed-over command is the command itself, only sooner."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from bigain.warm import KEEP_MEMORY, SOCKET, Warm, hand_over


def bigain(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "bigain", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=300)


@pytest.fixture(scope="module")
def warm():
    process = Warm()
    where = os.environ[SOCKET]
    yield where
    process.stop()
    assert SOCKET not in os.environ
    assert not Path(where).exists()


def test_without_a_warm_process_a_command_runs_by_itself(monkeypatch, tmp_path):
    monkeypatch.delenv(SOCKET, raising=False)
    assert hand_over(["methods"]) is None
    monkeypatch.setenv(SOCKET, str(tmp_path / "nobody"))
    assert hand_over(["methods"]) is None
    found = bigain("methods")
    assert (found.returncode, "bigain_tm" in found.stdout) == (0, True)


@pytest.mark.system
def test_forks_keep_memory_as_jobs_of_their_own_do(monkeypatch):
    """glibc reads its settings as a process starts, so a fork can have them only from the warm process."""
    for name in KEEP_MEMORY:
        monkeypatch.delenv(name, raising=False)
    process = Warm()
    (started,) = (child for child in psutil.Process().children() if "warm" in child.cmdline())
    assert started.environ().items() >= KEEP_MEMORY.items()
    process.stop()


@pytest.mark.system
@pytest.mark.parametrize(
    "arguments", [["methods"], ["nonsense"], ["table", "x"], ["flops", "--backbone", "none/at/all"]]
)
def test_output_and_exit_code_are_the_command_s_own(warm, arguments):
    cold, forked = bigain(*arguments, **{SOCKET: ""}), bigain(*arguments, **{SOCKET: warm})
    assert (forked.returncode, forked.stdout) == (cold.returncode, cold.stdout)
    assert forked.stderr == cold.stderr


@pytest.mark.system
def test_a_job_s_records_are_the_same_bit_for_bit(warm, root, tmp_path, monkeypatch):
    from bigain.jobs.encode import encode_conditions, encode_images
    from bigain.records import canonical
    from tests.test_jobs import FASHION, backbone, classification

    monkeypatch.chdir(root)
    common = {"backbone": backbone("unet"), "dataset": FASHION}
    encode_images(common | {"images": 8}, tmp_path / "latents.safetensors")
    encode_conditions(common | {"captions": 0}, tmp_path / "conditions.safetensors")
    for name, where in (("cold", ""), ("forked", warm)):
        spec = classification("unet", "tome", tmp_path / name) | {"threads": 2}
        files = ["--latents", tmp_path / "latents.safetensors", "--conditions", tmp_path / "conditions.safetensors"]
        written = ["--output", tmp_path / f"{name}.parquet", "--info", tmp_path / f"{name}.json"]
        done = bigain("classify", "--spec", canonical(spec), *map(str, files + written), **{SOCKET: where})
        assert done.returncode == 0, done.stderr
    cold, forked = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("cold", "forked"))
    assert cold.equals(forked)


@pytest.mark.system
def test_a_killed_command_takes_its_fork_with_it(warm, tmp_path):
    """The fork waits at a pipe that nobody writes to."""
    os.mkfifo(tmp_path / "features")
    command = [sys.executable, "-m", "bigain", "statistics", "--reference", "features", "--output", "x.npz"]
    waiting = subprocess.Popen(command, env={**os.environ, SOCKET: warm}, cwd=tmp_path)
    wait_until(lambda: len(processes_in(tmp_path)) == 2)
    waiting.send_signal(signal.SIGKILL)
    waiting.wait()
    wait_until(lambda: not processes_in(tmp_path))


def wait_until(holds, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def processes_in(folder) -> list[str]:
    """The processes of this machine that work in a folder."""
    return [process.name for process in Path("/proc").glob("[0-9]*") if folder_of(process) == folder]


def folder_of(process: Path) -> Path | None:
    try:
        return (process / "cwd").readlink()
    except OSError:  # it has just ended
        return None
