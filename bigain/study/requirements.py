"""What a study needs of the machine before its first job: weights, data, disk, a GPU; what is missing in one list."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bigain.datasets import problems as dataset_problems
from bigain.files import sha256
from bigain.published import INCEPTION
from bigain.study.plan import Plan
from bigain.study.study import Study
from bigain.study.weights import WeightsError, check

SMALLER = "config/config.yaml (the embedded study, minutes on a CPU), config/paper_smoke.yaml (the paper's rules)"


MODEL_RULES = {
    "encode_images",
    "encode_conditions",
    "reference_features",
    "calibrate",
    "classify",
    "generate",
    "efficiency",
}


def before_first_job(study: Study, rules: set[str], here: bool) -> str:
    """What stops a workflow that has to run these rules, as one message; empty if nothing does, or if no rule needs a
    model. `here`: whether jobs run on this machine."""
    if not rules & MODEL_RULES:
        return ""
    found = problems(study, Plan(study), here)
    return "\n".join((f"{study.name} cannot run yet:", *(f"- {one}" for one in found))) if found else ""


def problems(study: Study, plan: Plan, here: bool = True) -> list[str]:
    """Everything that would stop the study's jobs, a line each. `here`: whether jobs run on this machine."""
    found = [*_weights(study), *_data(study), *_network(study), *_disk(study, plan)]
    return list(dict.fromkeys(found + (list(_gpu(study, plan)) if here else [])))


def _weights(study: Study) -> Iterator[str]:
    for name in study.backbones():
        try:
            check(name, study.config["backbones"][name])
        except (WeightsError, OSError) as error:
            yield f"backbones.{name}: {error}"


def _data(study: Study) -> Iterator[str]:
    used = dict.fromkeys(cell.dataset for cell in study.cells)
    used |= dict.fromkeys(
        study.config["backbones"][cell.backbone]["calibration"] for cell in study.cells if cell.structural
    )
    for name in used:
        settings = study.config["datasets"][name]
        readers = [settings["reader"]]
        if settings["reference"] and any(c.task == "generation" and c.dataset == name for c in study.cells):
            readers.append(settings["reference"])
        for reader in readers:
            yield from (f"datasets.{name}: {one}" for one in dataset_problems({**settings, "reader": reader}))


def _network(study: Study) -> Iterator[str]:
    if all(cell.task == "classification" for cell in study.cells):
        return
    network = study.config["feature_network"]
    path = Path(network["weights"])
    expected = network["sha256"] or (INCEPTION.checksum if network["name"] == "inception" else None)
    if not path.is_file():
        yield f"feature_network: {path} is missing; `bigain fetch inception` downloads {INCEPTION.url}"
    elif expected not in (None, "any") and (found := sha256(path)) != expected:
        yield f"feature_network: {path}: sha256 is {found}, and it has to be {expected} (damaged, or another network)"


def _disk(study: Study, plan: Plan) -> Iterator[str]:
    place = Path(study.results)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    if free < plan.disk_gb:
        yield f"disk: {study.results} needs about {plan.disk_gb:.0f} GB, and {free:.0f} GB are free"


def _gpu(study: Study, plan: Plan) -> Iterator[str]:
    if study.config["device"] == "cuda" and not _gpus():
        yield (
            f"device: cuda, and this machine shows no GPU. The study takes about {plan.hours:.0f} hours on "
            f"{plan.device}; run it on such a machine or cluster (`bigain plan` says more). Smaller: {SMALLER}"
        )


def _gpus() -> int:
    """GPUs that the driver lists; asked without torch."""
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return listed.stdout.count("GPU ") if listed.returncode == 0 else 0
