"""What the page says of itself."""

from bigain.reporting import page


def test_the_commit_is_left_out_where_there_is_none_to_say(monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert page._commit() == []  # no checkout
    monkeypatch.setattr(page.shutil, "which", lambda name: None)
    monkeypatch.setattr(page.subprocess, "run", None)
    assert page._commit() == []  # no git
