"""The tutorial's blocks run in their order, and print the table that the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.repository import ROOT

pytestmark = [pytest.mark.system, pytest.mark.timeout(1500)]

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall((ROOT / "docs/tutorial.md").read_text("utf-8"))
FILE = re.compile(r"# (\S+)\n")  # the first line of a block that is written to a file


def run(command: list[str], folder: Path, tools: Path) -> str:
    """Run a command with this package and its commands; return what it prints."""
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
    }
    completed = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr[-4000:] + completed.stdout[-4000:]
    return completed.stdout


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> tuple[Path, str]:
    """Run every block; return the study's folder and what the commands printed."""
    outside, tools = tmp_path_factory.mktemp("tutorial"), tmp_path_factory.mktemp("tools")
    for name, arguments in {"bigain": "-m bigain ", "snakemake": "-m snakemake ", "python": ""}.items():
        (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable} {arguments}"$@"\n')
        (tools / name).chmod(0o755)
    output = []
    for language, content in BLOCKS:
        folder = outside / "try" if (outside / "try").exists() else outside
        if language == "bash":
            output.append(run(["bash", "-ec", content.replace("--cores all", "--cores 2")], folder, tools))
        elif language == "python":
            output.append(run([sys.executable, "-c", content], folder, tools))
        elif language == "yaml":
            (folder / FILE.match(content)[1]).write_text(content)
    return outside / "try", "".join(output)


def rows(table: str) -> list[list[str]]:
    return [line.split() for line in table.splitlines() if line.strip()]


def numbers(cells: list[str]) -> list[float]:
    return [float(cell) for cell in cells if re.fullmatch(r"[\d.]+", cell)]


def test_the_table_is_that_of_the_page(printed):
    """Counts are equal; the distances' last digits depend on the CPU."""
    (shown,) = [content for language, content in BLOCKS if language == "text"]
    _, output = printed
    start = output.index(shown.split("\n", 1)[0].strip())
    expected = rows(shown)
    for cells, line in zip(expected, rows(output[start:])[: len(expected)], strict=True):
        if cells[0] == "fd":
            assert numbers(line) == pytest.approx(numbers(cells), rel=0.02, abs=2)
        else:
            assert line == cells


def test_check_finds_everything_and_nothing_is_left_to_do(printed):
    folder, output = printed
    assert "mine: nothing is missing" in output
    assert (folder / "reports/mine/index.html").is_file()
    images = (folder / "my-images").rglob("*.png")
    assert sum(1 for _ in images) == 200


def test_the_plan_of_stable_diffusion_counts_the_passes_that_the_page_says(printed):
    _, output = printed
    assert "classification with sd2 on mine: 55 forward passes per image" in output
    page = " ".join((ROOT / "docs/tutorial.md").read_text("utf-8").split())
    assert "with these stages, 5 classes take 55 predictions per image" in page
