"""Run a study with Snakemake in a separate folder, within a time limit, and read its results."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from bench.rounds import Row
from bigain.core.failures import SUFFIX
from bigain.core.files import read_json

ROOT = Path(__file__).parents[1]


class StudyFailed(RuntimeError):
    """A study ended before its last step; the message gives the reason in a line."""


def study(
    configs: tuple[str, ...], changes: Mapping[str, Any], folder: Path, seconds: float, until: tuple[str, ...] = ()
) -> Iterator[Row]:
    """Run the study of some config files of this project with some keys changed, up to some rules' jobs or to its end;
    yield its steps and its cells' metrics.

    Raises StudyFailed, after the rows of finished work, if a job failed or time was up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "changes.yaml").write_text(yaml.safe_dump(dict(changes)))
    reason = _run(configs, folder, seconds, until)
    done, steps = _steps(folder / "snakemake.log")
    yield {"case": "steps", "value": f"{done} of {steps}", "done": done, "of": steps}
    for file in sorted(folder.glob("results/*/cells/**/metrics.json")):
        scores = read_json(file)["metrics"]
        name = str(file.parent.relative_to(folder / "results")).split("/cells/")[1]
        for metric, estimate in scores.items():
            yield {"case": f"{name}, {metric}", "value": _short(estimate), "estimate": estimate}
    if reason:
        raise StudyFailed(reason)


def _run(configs: tuple[str, ...], folder: Path, seconds: float, until: tuple[str, ...]) -> str | None:
    """Run Snakemake in the folder; return why it ended too early, in a line, or None."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--cores", str(os.cpu_count()), "--keep-going"]
    command += [*(["--until", *until] if until else []), "--configfile"]
    command += [*(str(ROOT / config) for config in configs), str(folder / "changes.yaml")]
    with open(folder / "snakemake.log", "w") as log:
        try:
            done = subprocess.run(
                command, cwd=folder, env=_environment(folder), stdout=log, stderr=log, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return f"stopped after {seconds:.0f} s"
    return _reason(folder) if done.returncode else None


def _environment(folder: Path) -> dict[str, str]:
    """Return an environment in which the jobs' `python` is this one, and imports this project from any folder."""
    paths = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    if shutil.which("python", path=paths[0]) is None:
        wrapper = folder / "bin" / "python"
        wrapper.parent.mkdir(exist_ok=True)
        wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        wrapper.chmod(0o755)
        paths.insert(0, str(wrapper.parent))
    modules = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return os.environ | {"PATH": os.pathsep.join(paths), "PYTHONPATH": modules, "COLUMNS": "200"}


def _reason(folder: Path) -> str:
    """Return why a study failed: the error of its first failed job, or else the last error that Snakemake printed."""
    reasons = [file.read_text().strip() for file in sorted(folder.rglob(f"*{SUFFIX}"))]
    printed = [line.strip() for line in (folder / "snakemake.log").read_text().splitlines() if line.strip()]
    errors = [line for line in printed if "rror" in line] or printed or ["Snakemake printed nothing"]
    first = (reasons or errors[-1:])[0].splitlines()[-1]
    return f"{len(reasons)} jobs failed, the first: {first}" if reasons else first


def _steps(log: Path) -> tuple[int, int]:
    """Return the numbers of finished and of planned jobs."""
    text = log.read_text()
    planned = re.search(r"^total +(\d+)$", text, re.MULTILINE)
    return text.count("Finished jobid:"), int(planned[1]) if planned else 0


def _short(estimate: Any) -> str:
    """Return a metric as printed in a table: its value, and its interval, if any."""
    if not isinstance(estimate, Mapping):
        return str(estimate)
    interval = f" ({estimate['low']:.4g} to {estimate['high']:.4g})" if "low" in estimate else ""
    return f"{estimate['value']:.4g}{interval}"


def write_random_models(folder: Path, small: bool, datasets: tuple[str, ...]) -> None:
    """Write the inputs of config/paper_smoke.yaml to a folder: pipelines with random weights, built on the GPU if there
    is one, and synthetic data sets in the official layouts."""
    from tests.helpers import official_layouts as layouts
    from tests.helpers import random_pipelines as pipelines

    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        pipelines.stable_diffusion(folder / "models/random-sd2", small)
        pipelines.dit(folder / "models/random-dit-xl2", small)
    pipelines.inception_weights(folder / "models/random-inception.pth")
    data = folder / "data/rehearsal"
    size = 100 if small else 200
    if "pets" in datasets:
        layouts.write_pets(data / "pets", size)
    if "imagenet" in datasets:
        layouts.write_imagenet(data / "imagenet", layouts.imagenet.IMAGENET_100, size)
    if "coco" in datasets:
        layouts.write_coco(data / "coco", zipped=True, size=size)
