"""What a study needs of the machine before its first job: weights, data, disk, a GPU; what is missing in one list."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bigain.core import gpu_locks
from bigain.core.files import sha256
from bigain.datasets import problems as dataset_problems
from bigain.datasets.urls import INCEPTION
from bigain.study.cells import Cell
from bigain.study.plan import Plan
from bigain.study.study import Study
from bigain.study.weights import WeightsError, check

SMALLER = "config/config.yaml (the embedded study, minutes on a CPU), config/paper_smoke.yaml (the paper's rules)"


@dataclass
class Needs:
    """What jobs are going to use. `references` are the data sets whose real images generated ones are compared with."""

    cells: set[Cell] = field(default_factory=set)
    backbones: set[str] = field(default_factory=set)
    datasets: set[str] = field(default_factory=set)
    references: set[str] = field(default_factory=set)
    network: bool = False

    @classmethod
    def of_study(cls, study: Study) -> Needs:
        """Of everything."""
        needs = cls()
        for cell in study.cells:
            needs.add_cell(study, cell)
        return needs

    @classmethod
    def of_jobs(cls, study: Study, jobs: Iterable[tuple[str, dict[str, str]]]) -> Needs:
        """Of these jobs, by rule and wildcards; rules without a model need nothing."""
        needs = cls()
        for rule, wildcards in jobs:
            if rule in ("classify", "generate", "calibrate"):
                needs.add_cell(study, study.cell(wildcards["cell"]))
            elif rule in ("encode_images", "encode_conditions", "probe_tokens", "probe_spectrum"):
                needs.backbones.add(wildcards["backbone"])
                needs.datasets.add(wildcards["dataset"])
            elif rule == "reference_features":
                needs.references.add(wildcards["dataset"])
                needs.network = True
            elif rule == "efficiency":
                needs.backbones.add(wildcards["backbone"])
        return needs

    def add_cell(self, study: Study, cell: Cell) -> None:
        """What a cell's own jobs use."""
        self.cells.add(cell)
        self.backbones.add(cell.backbone)
        self.datasets.add(cell.dataset)
        if cell.structural:
            self.datasets.add(study.config["backbones"][cell.backbone]["calibration"])
        if cell.task == "generation":
            self.references.add(cell.dataset)
            self.network = True


def before_first_job(study: Study, jobs: Iterable[tuple[str, dict[str, str]]], here: bool) -> str:
    """What stops these jobs (rule and wildcards), as one message; empty if nothing does. `here`: whether they run on
    this machine."""
    needs = Needs.of_jobs(study, jobs)
    found = problems(study, Plan(study), needs, here) if needs.backbones or needs.references else []
    return "\n".join((f"{study.name} cannot run yet:", *(f"- {one}" for one in found))) if found else ""


def problems(study: Study, plan: Plan, needs: Needs, here: bool = True) -> list[str]:
    """Everything that would stop what is needed, a line each. `here`: whether jobs run on this machine."""
    found = [*_weights(study, needs), *_data(study, needs), *_network(study, needs), *_disk(study, plan, needs)]
    gpu = here and bool(needs.backbones)
    return list(dict.fromkeys(found + (list(_gpu(study, plan)) if gpu else [])))


def _weights(study: Study, needs: Needs) -> Iterator[str]:
    for name in sorted(needs.backbones):
        try:
            check(name, study.config["backbones"][name])
        except (WeightsError, OSError) as error:
            yield f"backbones.{name}: {error}"


def _data(study: Study, needs: Needs) -> Iterator[str]:
    for name in sorted(needs.datasets | needs.references):
        settings = study.config["datasets"][name]
        readers = [settings["reader"]] if name in needs.datasets else []
        if name in needs.references:
            readers.append(settings["reference"] or settings["reader"])
        for reader in dict.fromkeys(readers):
            yield from (f"datasets.{name}: {one}" for one in dataset_problems({**settings, "reader": reader}))


def _network(study: Study, needs: Needs) -> Iterator[str]:
    if not needs.network:
        return
    network = study.config["feature_network"]
    path = Path(network["weights"])
    expected = network["sha256"] or (INCEPTION.checksum if network["name"] == "inception" else None)
    if not path.is_file():
        yield f"feature_network: {path} is missing; `bigain fetch inception` downloads {INCEPTION.url}"
    elif expected not in (None, "any") and (found := sha256(path)) != expected:
        yield f"feature_network: {path}: sha256 is {found}, and it has to be {expected} (damaged, or another network)"


def _disk(study: Study, plan: Plan, needs: Needs) -> Iterator[str]:
    place = Path(study.results)
    while not place.exists():
        place = place.parent
    free, needed = shutil.disk_usage(place).free / 1e9, plan.disk_gb(needs.cells)
    if free < needed:
        yield f"disk: {study.results} needs about {needed:.0f} GB, and {free:.0f} GB are free"


def _gpu(study: Study, plan: Plan) -> Iterator[str]:
    if study.config["device"] == "cuda" and not gpu_locks.listed():
        yield (
            f"device: cuda, and this machine shows no GPU. The study takes about {plan.total().hours:.0f} hours on "
            f"{plan.device}; run it on such a machine or cluster (`bigain plan` says more). Smaller: {SMALLER}"
        )
