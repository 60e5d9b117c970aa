"""Time the embedded study on a fresh clone, with every job in its own process and with forked jobs
(`bigain.cli.forkserver`)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from bench.rounds import Row, row, seconds

ARMS = {"jobs alone": ["--config", "warm=False"], "forked jobs": []}


def demo(rounds: int = 1) -> list[Row]:
    """Time both arms, by default in one round, which takes half an hour on two cores."""
    times = [{arm: seconds(partial(_run_study, extra)) for arm, extra in ARMS.items()} for _ in range(rounds)]
    case = f"from nothing to the page, {os.cpu_count()} cores"
    return [row("make demo", case, arm, "jobs alone", times) for arm in ARMS]


def _run_study(extra: list[str]) -> None:
    """Run the study of the checked-out commit in a temporary clone."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", ".", str(clone)], check=True)
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "all", *extra],
            cwd=clone,
            env={**os.environ, "PYTHONPATH": str(clone)},
            stderr=subprocess.DEVNULL,
        )
        if done.returncode:
            log = next((clone / ".snakemake" / "log").glob("*.log"), None)
            kept = shutil.copy(log, tempfile.gettempdir()) if log else "nowhere"
            raise SystemExit(f"the study failed: Snakemake's log is kept in {kept}")
