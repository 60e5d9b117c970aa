"""Commands that read or write a file name it if it is not what they need, without a traceback."""

import pytest
from typer.testing import CliRunner

from bigain.cli.main import app


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["init", "a.txt"], "a.txt cannot be created: "),
        (["init", "a.txt/sub"], "a.txt/sub cannot be created: "),
        (["checksums", "nowhere"], "nowhere is not a folder"),
        (["checksums", "a.txt"], "a.txt is not a folder"),
        (["statistics", "--reference", "nowhere", "--output", "b.npz"], "nowhere holds no statistics of real images"),
        (["statistics", "--reference", "a.txt", "--output", "b.npz"], "a.txt holds no statistics of real images"),
    ],
)
def test_a_file_that_does_not_fit_is_named(command, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("text")
    completed = CliRunner().invoke(app, command)
    assert completed.exit_code == 2
    assert message in completed.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
