"""Folders appear whole or not at all."""

import errno
import os
import shutil

import pytest

from bigain.core.folders import whole_folder
from bigain.study import publishing


def test_a_folder_appears_at_the_end_and_nothing_else_is_left(tmp_path):
    with whole_folder(tmp_path / "a/out") as temporary:
        (temporary / "x").write_text("1")
        assert not (tmp_path / "a/out").exists()
    assert (tmp_path / "a/out/x").read_text() == "1"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]


def write_and_fail(folder):
    with whole_folder(folder) as temporary:
        (temporary / "x").write_text("1")
        raise KeyError


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(KeyError):
        write_and_fail(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("whole_folder", [whole_folder, publishing.whole_folder])
def test_a_full_disk_names_the_folder(tmp_path, whole_folder):
    with pytest.raises(OSError, match="No space left") as fault, whole_folder(tmp_path / "out"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert fault.value.filename == str(tmp_path / "out")


def test_what_a_killed_process_left_is_removed(tmp_path):
    with whole_folder(tmp_path / "out") as temporary:
        prefix = temporary.name.removesuffix(f"{os.getpid()}.tmp")
    (tmp_path / f"{prefix}999999999.tmp/deep").mkdir(parents=True)
    shutil.rmtree(tmp_path / "out")
    with whole_folder(tmp_path / "out"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_only_an_empty_folder_is_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    with whole_folder(tmp_path / "out") as temporary:
        (temporary / "x").write_text("1")
    (tmp_path / "file").touch()
    for name in ("out", "file"):
        expected = f"{name} exists, and nothing is overwritten: choose another folder, or remove it"
        with pytest.raises(FileExistsError, match=expected), whole_folder(tmp_path / name):
            pass
    assert (tmp_path / "out/x").read_text() == "1"
