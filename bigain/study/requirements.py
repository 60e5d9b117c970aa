"""List what a study lacks on this machine before its first job: weights, data, disk space, a GPU."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bigain.core import gpu_locks
from bigain.core.files import sha256
from bigain.core.places import located
from bigain.datasets import of_whole, reference_of
from bigain.datasets.integrity import left_out
from bigain.datasets.integrity import problems as dataset_problems
from bigain.datasets.urls import INCEPTION
from bigain.study.cells import Cell
from bigain.study.cost import StudyCost
from bigain.study.prompts import prompt_faults, prompt_notes
from bigain.study.study import Study
from bigain.study.weights import WeightsError, check

SMALLER_STUDIES = (
    "config/config.yaml (the embedded study, minutes on a CPU), config/paper_smoke.yaml (the paper's rules)"
)


@dataclass
class Needs:
    """Inputs that the planned jobs will use.

    `references` are the data sets whose real images generated ones are compared with, `network` is whether the feature
    network is used.
    """

    cells: set[Cell] = field(default_factory=set)
    backbones: set[str] = field(default_factory=set)
    datasets: set[str] = field(default_factory=set)
    references: set[str] = field(default_factory=set)
    network: bool = False

    @classmethod
    def of_study(cls, study: Study) -> Needs:
        """Return what all cells of a study use."""
        needs = cls()
        for cell in study.cells:
            needs.add_cell(study, cell)
        return needs

    @classmethod
    def of_jobs(cls, study: Study, jobs: Iterable[tuple[str, dict[str, str]]]) -> Needs:
        """Return what some jobs use, named by rule and wildcards; rules without a model use nothing."""
        needs = cls()
        for rule, wildcards in jobs:
            if rule in ("classify", "generate", "calibrate"):
                needs.add_cell(study, study.cell(wildcards["cell"]))
            elif rule in ("encode_images", "encode_conditions", "probe_tokens", "probe_spectrum", "probe_margins"):
                needs.backbones.add(wildcards["backbone"])
                needs.datasets.add(wildcards["dataset"])
            elif rule == "reference_features":
                needs.references.add(wildcards["dataset"])
                needs.network = True
            elif rule in ("efficiency", "measure_batch"):
                needs.backbones.add(wildcards["backbone"])
        return needs

    def add_cell(self, study: Study, cell: Cell) -> None:
        """Add what a cell's jobs use."""
        self.cells.add(cell)
        self.backbones.add(cell.backbone)
        self.datasets.add(cell.dataset)
        if cell.structural:
            self.datasets.add(study.config["backbones"][cell.backbone]["calibration"])
        if cell.task == "generation":
            self.references.add(cell.dataset)
            self.network = True


GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvhost-ctrl-gpu", "/dev/kfd", "/dev/dxg")  # also without nvidia-smi


def device_here(device: str) -> str:
    """Return the device of jobs on this machine: `auto` is the CPU if no GPU is visible, and else is left to the jobs.

    So a change of `device` from `cpu` to `auto` on a machine without a GPU computes nothing again.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") is not None
    has_gpu = gpu_locks.visible_gpus() or (not hidden and any(Path(file).exists() for file in GPU_DEVICES))
    return "cpu" if device == "auto" and not has_gpu else device


def before_first_job(
    study: Study, jobs: Iterable[tuple[str, dict[str, str]]], local: bool, cores: int | None = None
) -> str:
    """Return one message about everything that would stop these jobs (rule and wildcards), or an empty string.

    `local` is whether they run on this machine; `cores` is how many of its cores Snakemake may then use.
    """
    needs = Needs.of_jobs(study, jobs)
    if not needs.backbones and not needs.references:
        return ""
    lines = [f"- {problem}" for problem in problems(study, StudyCost(study), needs, local, cores)]
    return "\n".join((f"{study.name} cannot run yet:", *lines)) if lines else ""


def missing_inputs(study: Study, needs: Needs) -> list[str]:
    """Return what is wrong with the models and data sets that are needed, one line per problem."""
    return [*_weights(study, needs), *_data(study, needs)]


def problems(study: Study, cost: StudyCost, needs: Needs, local: bool = True, cores: int | None = None) -> list[str]:
    """Return everything that stands in the way of what is needed, one line per problem.

    `local` is whether jobs run on this machine, which then needs the GPU and the CPU's threads; `cores` is how many of
    its cores Snakemake may use.
    """
    lines = [*missing_inputs(study, needs), *_network(study, needs), *_disk(study, cost, needs)]
    if local:
        lines += _threads(study.config["threads"], cores)
    if local and needs.backbones:
        lines += _gpu(study, cost)
    return list(dict.fromkeys(lines))


def notes(study: Study) -> list[str]:
    """Return what does not stop the study, one line each: images left out of its data, and prompts and captions that
    are not read to their end."""
    used = sorted({cell.dataset for cell in study.cells})
    images = [f"datasets.{name}: {line}" for name in used for line in left_out(study.config["datasets"][name])]
    return [*images, *prompt_notes(study.config, study.cells)]


def _weights(study: Study, needs: Needs) -> Iterator[str]:
    for name in sorted(needs.backbones):
        try:
            check(name, study.config["backbones"][name])
        except (WeightsError, OSError) as error:
            yield f"backbones.{name}: {error}"


def _data(study: Study, needs: Needs) -> Iterator[str]:
    for name in sorted(needs.datasets | needs.references):
        settings = study.config["datasets"][name]
        read = [of_whole(settings)] if name in needs.datasets else []
        if name in needs.references and reference_of(settings) not in read:
            read.append(reference_of(settings))
        for whole in read:
            allowed = {"allow_missing": settings["allow_missing"]}
            yield from (f"datasets.{name}: {problem}" for problem in dataset_problems(whole | allowed))
    yield from prompt_faults(study.config, sorted(needs.cells))


def _network(study: Study, needs: Needs) -> Iterator[str]:
    if not needs.network:
        return
    network = study.config["feature_network"]
    path = located(network["weights"])
    expected = network["sha256"] or (INCEPTION.checksum if network["name"] == "inception" else None)
    if not path.is_file():
        yield f"feature_network: {path} is missing; `bigain fetch inception` downloads {INCEPTION.url}"
    elif expected not in (None, "any") and (actual := sha256(path)) != expected:
        yield f"feature_network: {path}: sha256 is {actual}, must be {expected} (damaged, or another network)"


def _disk(study: Study, cost: StudyCost, needs: Needs) -> Iterator[str]:
    folder = Path(study.results)
    while not folder.exists():
        folder = folder.parent
    free, needed = shutil.disk_usage(folder).free / 1e9, cost.disk_gb(needs.cells)
    if free < needed:
        yield f"disk: {study.results} needs about {needed:.0f} GB, and {free:.0f} GB are free"


def _threads(threads: int, cores: int | None) -> Iterator[str]:
    """Find `threads` above the cores of this machine or `--cores`: Snakemake would reserve fewer cores than the jobs,
    whose numbers depend on their threads, would use."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads > available:
        yield f"threads: {threads} is not allowed on this machine, which has {available}; set at most {available}"
    elif cores is not None and threads > cores:
        yield f"threads: {threads} is not allowed with --cores {cores}; use --cores {threads}, or set at most {cores}"


def _gpu(study: Study, cost: StudyCost) -> Iterator[str]:
    if study.config["device"] == "cuda" and not gpu_locks.visible_gpus():
        yield (
            f"device: cuda, and this machine has no GPU. The study takes about {cost.total().hours:.0f} hours on "
            f"{cost.device}; run it where there is one (see `bigain plan`). Smaller studies: {SMALLER_STUDIES}"
        )
