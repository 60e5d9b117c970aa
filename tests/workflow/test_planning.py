"""What Snakemake plans on a finished study without any records of its own: made-up results, no model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.helpers.small_study import CONFIG, small_study, write_study

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture
def folder(root, tmp_path, monkeypatch) -> Path:
    """A folder with a study and its results, which the process is in."""
    monkeypatch.chdir(tmp_path)
    write_study(small_study(root, tmp_path))
    return tmp_path


def configure(folder: Path, **changes) -> None:
    (folder / "small.yaml").write_text(yaml.safe_dump(CONFIG | changes))


def plan(root: Path, folder: Path, *targets: str) -> str:
    """Return what a dry run prints, which has to succeed."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(root / "Snakefile"), "--cores", "2", "--dry-run"]
    command += [*targets, "--configfile", "small.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "200"}
    completed = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, (completed.stdout + completed.stderr)[-5000:]
    return completed.stdout + completed.stderr


@pytest.mark.parametrize(
    ("change", "target"),
    [
        ({"efficiency": {"rounds": 7}}, "efficiency/mini_dit.csv"),
        ({"datasets": {"fashion": {"images": 14}}}, "inputs/mini_dit/fashion/latents.safetensors"),
        ({"threads": 2}, "inputs/mini_unet/fashion/conditions.safetensors"),
        ({"threads": 2}, "inputs/reference/fashion.safetensors"),
    ],
)
def test_an_outdated_file_that_is_asked_for_alone_is_computed_again(root, folder, change, target):
    target = f"results/small/{target}"
    assert "Nothing to be done" in plan(root, folder, target)
    configure(folder, **change)
    assert "Forced execution" in plan(root, folder, target)
