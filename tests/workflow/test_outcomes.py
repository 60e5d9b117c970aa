"""The report of a finished study, rendered again from its outcomes alone: no model, no data, no torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.repository import ROOT

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]

OUTCOMES = Path("docs/tiny/outcomes")
OF_COMMITS = ("index.html", "manifest.json", "report.pdf")  # the page names its commit, a PDF its time
CELL = "generation/mini_unet/fashion/bigain_td/factor-2/seed-0"


def write_outcomes(study: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "bigain", "outcomes", str(folder / OUTCOMES), "--configfile", "study.yaml"]
    subprocess.run(command, cwd=study, env={**os.environ, "PYTHONPATH": str(study)}, check=True, timeout=300)


def render(folder: Path) -> Path:
    """Render the outcomes in an empty folder, with a torch that cannot be imported, and return the report's folder."""
    blocked = folder / "blocked"
    blocked.mkdir()
    (blocked / "torch.py").write_text("raise ImportError('rendering needs no torch')")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--snakefile", str(ROOT / "workflow/outcomes.smk")]
    environment = {**os.environ, "PYTHONPATH": f"{blocked}:{ROOT}"}
    completed = subprocess.run(
        [*command, "--config", f"outcomes={OUTCOMES}"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert completed.returncode == 0, completed.stderr[-4000:]
    return folder / OUTCOMES.parent


def test_the_report_of_outcomes_is_the_studys_byte_for_byte(untouched, tmp_path):
    write_outcomes(untouched, tmp_path)
    before = set((tmp_path / OUTCOMES).rglob("*"))
    rendered = {file.name: file.read_bytes() for file in render(tmp_path).iterdir() if file.is_file()}
    computed = {file.name: file.read_bytes() for file in (untouched / "reports/tiny").iterdir()}
    assert rendered.keys() == computed.keys()
    assert [name for name in computed if name not in OF_COMMITS and rendered[name] != computed[name]] == []
    assert sum(name.endswith(".csv") for name in computed) > 10
    assert set((tmp_path / OUTCOMES).rglob("*")) == before  # logs lie elsewhere


def test_the_page_of_an_unfinished_study_says_how_many_cells_are_finished(untouched, tmp_path):
    study = tmp_path / "study"
    shutil.copytree(untouched, study, symlinks=True)
    (study / "results/tiny/cells" / CELL / "metrics.json").unlink()
    write_outcomes(study, tmp_path)
    page = (render(tmp_path) / "index.html").read_text()
    assert "This study is not finished: the page shows the 3 of 4 cells that are" in page
