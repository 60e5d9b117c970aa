"""A full disk and Ctrl-C: whole files or none, nothing temporary left, an exit code that is not 0, and one line."""

import errno
import signal
import subprocess
import sys

import pytest

from bigain.cli.main import exit_code
from bigain.core import files
from bigain.study.publishing import whole_folder

# A child that takes longer to end after an interrupt than `subprocess.run` waits.
CHILD = """
import sys, time
print("ready", file=sys.stderr, flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.6)
    print("unlocked", flush=True)
    sys.exit(3)
"""


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1, "[Errno 28] No space left on device: 'b.csv'"),
        (KeyboardInterrupt(), 130, "interrupted; no file is left half-written"),
    ],
)
def test_what_stops_a_command_is_one_line_and_no_file_is_left_half_written(
    failure, code, message, tmp_path, monkeypatch, capsys
):
    written = files._flush

    def flush(temporary):
        if "b.csv" in temporary.name:
            raise failure
        written(temporary)

    monkeypatch.setattr(files, "_flush", flush)
    monkeypatch.chdir(tmp_path)
    assert exit_code(["audit", "--tex", "a.tex", "--csv", "b.csv", "--html", "c.html"]) == code
    assert capsys.readouterr().err == f"error: {message}\n"
    assert {file.name for file in tmp_path.iterdir()} <= {"a.tex", "c.html"}


def test_an_interrupt_waits_for_the_study_of_a_comparison_to_unlock_its_folder():
    call = "import os, sys; from bigain.cli.compare import code_of; sys.exit(code_of(sys.argv[1:], dict(os.environ)))"
    command = [sys.executable, "-c", call, sys.executable, "-c", CHILD]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as comparison:
        assert comparison.stderr.readline() == "ready\n"
        comparison.send_signal(signal.SIGINT)
        assert comparison.stderr.read() == "unlocked\n"
    assert comparison.returncode == 3


def test_earlier_outcomes_are_put_back_after_an_interrupt(tmp_path):
    earlier = tmp_path / ".out.earlier"
    earlier.mkdir()
    (earlier / "results.parquet").touch()
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "out"):
        raise KeyboardInterrupt
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "out",
        "out/results.parquet",
    ]
