"""Outputs replace only what the command wrote itself, and never what it reads, by whatever path."""

import pytest

from bigain.core.outputs import Output, begins_with, check_outputs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "mine.csv").write_text("a,b\n1,2\n")
    (tmp_path / "other.csv").write_text("c\n")
    (tmp_path / "link.csv").symlink_to("sub/../mine.csv")
    (tmp_path / "hard.csv").hardlink_to(tmp_path / "mine.csv")
    (tmp_path / "loose.csv").symlink_to("new.csv")
    (tmp_path / "folder").symlink_to("sub")
    return tmp_path


def table(folder, name, option="--out"):
    return Output(option, folder / name, "an earlier table", begins_with(b"a,b"))


@pytest.mark.parametrize("name", ["new.csv", "mine.csv", "sub/new.csv", "made/new.csv"])
def test_new_files_and_earlier_outputs_are_allowed(name, folder):
    before = sorted(folder.rglob("*"))
    check_outputs(
        [table(folder, name), table(folder, "x.csv", "--csv")], [("--in", folder / "other.csv"), ("-x", None)]
    )
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sub", "--out .*/sub is a folder; a file is needed"),
        ("other.csv", "--out .*other.csv exists and is not an earlier table: name another file"),
        ("other.csv/new.csv", "other.csv is not a folder"),
    ],
)
def test_an_output_that_cannot_be_written_or_is_of_another_kind(name, message, folder):
    with pytest.raises(ValueError, match=message):
        check_outputs([table(folder, name)])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("new.csv", "nowhere/../new.csv"),
        ("new.csv", "loose.csv"),
        ("sub/new.csv", "folder/new.csv"),
        ("mine.csv", "link.csv"),
        ("mine.csv", "hard.csv"),
    ],
)
def test_two_paths_of_one_file(first, second, folder):
    with pytest.raises(ValueError, match=r"--out and --csv are both .*: name two files"):
        check_outputs([table(folder, first), table(folder, second, "--csv")])
    with pytest.raises(ValueError, match="is the file that --in reads, and would be replaced: name another file"):
        check_outputs([table(folder, first)], [("--in", folder / second)])
