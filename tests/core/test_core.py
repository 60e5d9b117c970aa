"""Keys, whole files, progress."""

import os
import socket
import subprocess
import time

import pytest
import torch
from safetensors.torch import save_file

from bigain.core.files import read_json, whole_file, write_json
from bigain.core.progress import progress_line
from bigain.core.records import environment, git_state
from bigain.core.rng import numpy_generator, seed_for, torch_generator
from bigain.methods.ids import method_of
from bigain.methods.presets import METHODS
from bigain.tokens import OPERATORS


def test_keys_are_stable_and_distinct():
    assert seed_for(0, "noise", 1, 2, 0) == 2756095978363133803
    keys = [(0, "noise", 1, 2), (0, "noise", 12), (0, "noise", "1", 2), (1, "noise", 1, 2), (0, "x_T", 1, 2)]
    assert len({seed_for(*key) for key in keys}) == len(keys)


def test_drawing_does_not_touch_the_global_generators():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    torch.randn(3, generator=torch_generator(0, "a"))
    assert torch.equal(before, torch.get_rng_state())
    assert numpy_generator(0, "a").random() == numpy_generator(0, "a").random()


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


def test_the_environment_says_which_commit_and_whether_code_was_changed_since(tmp_path):
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=n", "-c", "user.email=e@localhost"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    assert git_state(tmp_path) == {}
    (tmp_path / "records.py").write_text("1")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    state = git_state(tmp_path)
    assert (len(state["commit"]), state["code"]) == (40, "as committed")
    (tmp_path / "records.py").write_text("2")
    assert git_state(tmp_path) == state | {"code": "changed"}
    assert {"python", "torch", "machine"} <= set(environment())


def test_every_preset_names_an_operator():
    assert {m.operator for m in METHODS.values() if m.acts_on in ("tokens", "keys_values")} == set(OPERATORS)
    with pytest.raises(ValueError, match="Did you mean 'todo'"):
        method_of("tod")


def test_progress_counts_what_is_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_json("plan.json", {"cost": {"a": 10, "b": 10, "c": 80}, "done_before": ["a"]})
    os.utime("plan.json", (time.time() - 60,) * 2)
    for name in "ab":
        (tmp_path / name).touch()
    line = progress_line(tmp_path / "plan.json", tmp_path / "cell" / "b")
    assert line.startswith("[2/3 model jobs]")
    assert line.endswith("1 left, about 8 min")
