"""A shrunken study for tests that disturb it: a few cells of each kind, in several shards of several blocks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import yaml
from safetensors.numpy import load_file

from tests.helpers.repository import copy_repository

STUDY: dict[str, Any] = {
    "study": "tiny",
    "device": "auto",  # asks for a GPU, and runs without one
    "datasets": {"fashion": {"images": 12}, "fashion_scenes": {"images": 12}},
    "classification": {"block": 2, "batch": 20},
    "generation": {"images": 40, "steps": 2, "block": 5, "keep_images": 5},
    "shards": {"blocks": 2, "per_job": 2},
    "probes": {"shown": 2, "draws": 2, "images": 4, "timesteps": 2, "bands": 4, "margin_images": 3},
    "efficiency": {"rounds": 1},
    "strengths": {"merge_ratio": [0.5], "downsample_factor": [2]},
    "cells": [
        {"task": "classification", "backbone": "mini_unet", "dataset": "fashion_scenes", "methods": ["tome"]},
        {"task": "classification", "backbone": "mini_dit", "dataset": "fashion", "methods": ["none", "bigain_tm"]},
        {"task": "generation", "backbone": "mini_unet", "dataset": "fashion", "methods": ["bigain_td"]},
    ],
}
TWO_JOBS = ("--resources", "gpu=2")  # two model jobs at once, on no GPU


def prepare(root: Path, folder: Path, **changes: Any) -> Path:
    """Copy the repository and write the study's config there."""
    folder.mkdir(parents=True, exist_ok=True)
    copy_repository(root, folder)
    write(folder, **changes)
    return folder


def write(folder: Path, **changes: Any) -> None:
    """Write the study's config with some keys changed."""
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY | changes))


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    """Start Snakemake in its own process group."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments, "--configfile", "study.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    with open(folder / "run.log", "a") as log:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)


def run(folder: Path, *arguments: str) -> str:
    """Run Snakemake, which has to succeed, and return what it printed."""
    completed = start(folder, *arguments).wait()
    log = (folder / "run.log").read_text()
    assert completed == 0, log[-5000:]
    return log


def numbers(folder: Path) -> dict[str, Any]:
    """Return every final number of a study by file: errors, features and images as bytes, metrics, probes."""
    results, contents = folder / "results/tiny", {}
    for file in sorted(results.glob("cells/**/chunk-*.parquet")):
        table = pq.read_table(file).to_pandas()
        contents[str(file.relative_to(results))] = (list(table.columns), table.to_numpy().tobytes(), len(table))
        contents[f"errors of {file.relative_to(results)}"] = table["error"].to_numpy().tobytes()
    for file in sorted(results.glob("**/*.safetensors")):
        if "work" not in file.parts:
            contents[str(file.relative_to(results))] = {k: v.tobytes() for k, v in load_file(file).items()}
    for file in sorted(results.glob("cells/**/metrics.json")):
        metrics = json.loads(file.read_text())
        contents[str(file.relative_to(results))] = {key: metrics[key] for key in ("metrics", "items", "left_out")}
    for file in sorted([*results.glob("probes/**/*.parquet"), *results.glob("timesteps/**/*.parquet")]):
        contents[str(file.relative_to(results))] = pq.read_table(file).to_pandas().to_csv()
    collected = pd.read_parquet(results / "results.parquet").drop(
        columns=["seconds", "environment", "commit", "config", "spec"]
    )
    contents["results"] = collected.to_csv()
    contents["images"] = pd.read_parquet(results / "images.parquet").to_csv()
    return contents


def finished_images(folder: Path) -> set[tuple[str, int]]:
    """Return (cell, image) of all images in finished blocks or shards."""
    images = set()
    for file in (folder / "results").rglob("images-*"):
        first, last = (int(part) for part in file.name.split("-")[1:3])
        images |= {(file.parent.name, image) for image in range(first, last)}
    return images
