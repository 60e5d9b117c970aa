"""Rehearse the paper's study without a model: `python -m bench.rehearsal [FOLDER]`.

The real workflow and executor run in a copy of the repository, in which a job only writes its files, after a
hundred-thousandth of the time that `bigain plan` estimates. First a dry run, then everything up to the tables
(tests/reporting renders those at full size), then a dry run of the finished study. Prints a line of JSON with seconds,
memory of Snakemake's process, and files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
import yaml

from bigain.cli.study import merged_config
from bigain.study.cost import StudyCost
from bigain.study.products import BESIDE_RESULTS, SELF_DESCRIBED
from bigain.study.study import Study
from tests.helpers.repository import copy_repository

ROOT = Path(__file__).parents[1]
CHANGES = {"shards": {"predictions_per_job": 110_000, "blocks": 1}}  # a tenth of the jobs' size: over 8,000 of them
CONFIGS = ("config/paper.yaml", "rehearsal.yaml")
SPEED = 100_000
GPUS = 64
NULL_JOB = '''"""A job that does nothing but write its files, after its share of time."""
import json, sys, time
from pathlib import Path

from bigain.core.provenance import write_provenance, write_sealed

words = sys.argv[1:]
options = {word[2:]: value for word, value in zip(words, words[1:]) if word.startswith("--")}
spec, output = json.loads(options["spec"]), Path(options["output"])
seconds = json.loads(Path("seconds.json").read_text()).get(str(output), 0.0)
time.sleep(seconds)
Path(options["log"]).parent.mkdir(parents=True, exist_ok=True)
Path(options["log"]).write_text("")
for name in (output.name, *BESIDE) if output.name == "results.parquet" else (output.name,):
    if name in SELF_DESCRIBED:
        write_sealed(output.with_name(name), {"spec": spec})
        continue
    output.parent.mkdir(parents=True, exist_ok=True)
    output.with_name(name).write_text("{}")
    write_provenance(output.with_name(name), spec, {}, seconds=seconds)
'''
LAST = ("collect", "efficiency", "probe_tokens", "probe_spectrum", "collect_margins")  # the input of the tables


def main(folder: Path) -> None:
    copy_repository(ROOT, folder)
    (folder / "bigain/__main__.py").write_text(
        NULL_JOB.replace("BESIDE", repr(BESIDE_RESULTS)).replace("SELF_DESCRIBED", repr(SELF_DESCRIBED))
    )
    os.chdir(folder)
    Path("rehearsal.yaml").write_text(yaml.safe_dump(CHANGES))
    study = Study(merged_config([Path(config) for config in CONFIGS]))
    seconds = seconds_of_jobs(study)
    Path("seconds.json").write_text(json.dumps(seconds))
    report = {
        "cells": len(study.cells),
        "shard jobs": len(seconds),
        "GPU-hours": round(sum(seconds.values()) * SPEED / 3600, 1),
        "dry run": measured("--dry-run", "--quiet"),
        "run": measured("--quiet"),
        "files": files(),
        "dry run when finished": measured("--dry-run", "--quiet"),
    }
    print(json.dumps(report))


def seconds_of_jobs(study: Study) -> dict[str, float]:
    """Return the shortened seconds of each job by its output: a cell's hours in equal parts."""
    cost = StudyCost(study)
    seconds: dict[str, float] = {}
    for cell in study.cells:
        files = study.chunk_files(cell)
        seconds |= dict.fromkeys(files, cost.cost(cell).hours * 3600 / SPEED / len(files))
    return seconds


def measured(*arguments: str) -> dict[str, float]:
    """Run Snakemake; return its wall seconds and the peak memory of its process in MB."""
    command = [sys.executable, "-m", "snakemake", *arguments, "--no-hooks", "--cores", str(GPUS)]
    command += ["--resources", f"gpu={GPUS}", "--until", *LAST, "--configfile", *CONFIGS]
    began, most = time.monotonic(), 0
    with open("snakemake.log", "w") as log:
        running = psutil.Popen(command, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": str(Path.cwd())})
        while running.poll() is None:
            most = max(most, running.memory_info().rss)
            time.sleep(0.2)
    if running.returncode:
        raise SystemExit(Path("snakemake.log").read_text()[-3000:])
    return {"seconds": round(time.monotonic() - began, 1), "MB": round(most / 1e6)}


def files() -> dict[str, int]:
    """Count the files in each place."""
    places = ("results/paper/cells", "results/paper/logs", "results", "reports", ".snakemake/metadata", ".snakemake")
    counts: Counter[str] = Counter()
    for place in places:
        counts[place] = sum(path.is_file() for path in Path(place).rglob("*"))
    used = subprocess.run(["du", "-sm", ".snakemake"], capture_output=True, text=True, check=True).stdout
    return {**counts, ".snakemake, MB": int(used.split()[0])}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1] if sys.argv[1:] else temporary).resolve())
