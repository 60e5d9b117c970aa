"""Files appear whole or not at all, readable by others, and without the temporary files of killed processes."""

import os
import socket
import subprocess

import pytest
import torch
from safetensors.torch import save_file

from bigain.core.files import read_json, whole_file, write_json


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "deep" / "file.txt"

    def write_half():
        with whole_file(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert list(target.parent.iterdir()) == []
    write_json(target, {"b": 1, "a": [1.5]})
    assert read_json(target) == {"a": [1.5], "b": 1}
    target.write_text("{")
    with pytest.raises(ValueError, match=r"file\.txt: not a valid JSON file"):
        read_json(target)


def test_whoever_may_read_a_folders_files_may_read_all_of_them(tmp_path):
    (tmp_path / "plain").write_text("")
    with whole_file(tmp_path / "ours") as temporary:
        save_file({"a": torch.zeros(1)}, temporary)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_a_killed_process_left_of_a_file_is_removed_and_nothing_else(tmp_path):
    target = tmp_path / "file.txt"
    ended = subprocess.Popen(["true"])
    ended.wait()
    names = {process: f".file.txt.{socket.gethostname()}-{process}.tmp" for process in (ended.pid, os.getppid())}
    for name in (*names.values(), ".file.txt.elsewhere-1.tmp", ".other.txt.tmp"):
        (tmp_path / name).write_text("ha")
    with whole_file(target) as temporary:
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"file.txt", names[os.getppid()], ".file.txt.elsewhere-1.tmp", ".other.txt.tmp"}
