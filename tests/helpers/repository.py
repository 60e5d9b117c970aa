"""A copy of the repository in which a study can run, and Snakemake in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def copy_repository(root: Path, folder: Path) -> None:
    """Copy what a study needs of the repository."""
    for name in ("Snakefile", "workflow", "bigain", "config", "resources", "profiles", "envs"):
        place = root / name
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(place, folder / name, ignore=ignore) if place.is_dir() else shutil.copy(place, folder)


def snakemake(folder: Path, *arguments: str, configs: tuple[str, ...] = ("study.yaml",)) -> subprocess.CompletedProcess:
    """Run Snakemake in a folder on two cores; targets come before the config files."""
    command = [sys.executable, "-m", "snakemake", *arguments, "--cores", "2", "--configfile", *configs]
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
