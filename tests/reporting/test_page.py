"""The page: its commit, and the size of the one that the documentation shows."""

import re

from bigain.reporting import page


def test_the_commit_is_left_out_without_a_checkout_or_git(monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert page._commit() == []  # no checkout
    monkeypatch.setattr(page.shutil, "which", lambda name: None)
    monkeypatch.setattr(page.subprocess, "run", None)
    assert page._commit() == []  # no git


def test_the_showcase_is_small(root):
    showcase = root / "docs/showcase"
    assert sum(file.stat().st_size for file in showcase.iterdir()) < 5e6
    assert not re.findall(r'src="(?!data:)', (showcase / "index.html").read_text())
    links = re.findall(r'href="([^"#][^"]*)"', (showcase / "index.html").read_text())
    links += re.findall(r"\]\(([^)]+)\)", (showcase / "README.md").read_text())
    assert len(links) > 30
    for link in links:
        assert (showcase / link).is_file(), link
