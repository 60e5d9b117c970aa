"""Count what a study will cost: cells, shards, noise predictions, images, operations, hours, disk. No torch.

Operations come from the committed table of FLOPs; hours from what the study has measured, else from the throughput that
the config assumes. Neither includes encoding and decoding images, loading, or the time that planning a merge takes
beyond its counted operations.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path

from bigain.methods.method import Task
from bigain.study.cells import Cell, sections
from bigain.study.workload import Workload

TRIAL_BYTES = 5.8  # per stored trial: measured on 1,175,000 of the embedded study, compressed
FEATURE_BYTES = {"inception": 2048 * 4, "fashion-net": 64 * 4}  # per image
DIFFUSION_BYTES = (4 * 64 * 64 * 4, 77 * 1024 * 2)  # of a latent of 512 px and of a prompt, Stable Diffusion 2's
# Of a latent of 1,024 px and of a prompt with its pooled vector: Stable Diffusion 3.5's and FLUX.1's.
FLOW_BYTES = {"mmdit": (16 * 128 * 128 * 4, 334 * 4096 * 2), "flux": (16 * 128 * 128 * 4, 513 * 4096 * 2)}


@dataclass
class Cost:
    """Cost of some cells. `images` counts the generated ones."""

    cells: int = 0
    shards: int = 0
    jobs: int = 0
    predictions: int = 0
    images: int = 0
    tflops: float = 0.0
    hours: float = 0.0
    gigabytes: float = 0.0

    def add(self, other: Cost) -> None:
        """Add the cost of other cells."""
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))


@dataclass
class StudyCost:
    """Cost of a study by (group, table), each cell under the first that needs it."""

    study: Workload
    parts: dict[tuple[str, str | None], Cost] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for section, cells in sections(self.study.config).items():
            self.parts[section] = Cost()
            for cell in cells:
                self.parts[section].add(self.cost(cell))

    def total(self, group: str | None = None) -> Cost:
        """Return the cost of a group, or of the whole study."""
        total = Cost()
        for (name, _), cost in self.parts.items():
            if group in (None, name):
                total.add(cost)
        return total

    @property
    def groups(self) -> list[str]:
        """Groups of the study."""
        return list(dict.fromkeys(group for group, _ in self.parts))

    def disk_gb(self, cells: Iterable[Cell]) -> float:
        """Return the gigabytes of these cells' results and of the inputs that they share."""
        cells = list(cells)
        return sum(self.cost(cell).gigabytes for cell in cells) + self._shared_gb(cells)

    @property
    def device(self) -> str:
        """Device that the hours are for, and whether they are measured or assumed."""
        assumed = self.study.config["throughput"]
        names = {name for name, _ in self._measured.values()}
        if len(self._measured) < len(self.study.backbones()):
            names.add(f"{assumed['device']} at {assumed['tflops']:g} TFLOP/s")
        return ", ".join(sorted(names))

    def evaluations(self) -> dict[tuple[str, str, str], int]:
        """Return the noise predictions per image, by (task, backbone, data set)."""
        return {(c.task, c.backbone, c.dataset): self.study.predictions(c) for c in self.study.cells}

    def cost(self, cell: Cell) -> Cost:
        """Return the cost of one cell."""
        images, chunks = self.study.images(cell), self.study.chunks(cell)
        predictions = images * self.study.predictions(cell)
        generated = images if cell.task == "generation" else 0
        tflops = predictions * self.study.gflops(cell) / 1e3
        stored = generated * self._feature_bytes if generated else predictions * TRIAL_BYTES
        return Cost(
            cells=1,
            shards=sum(-(-(last - first) // self.study.shard(cell)) for first, last in chunks),
            jobs=len(chunks),
            predictions=predictions,
            images=generated,
            tflops=tflops,
            hours=self._hours(cell, predictions, tflops),
            gigabytes=2 * stored / 1e9,  # the shards, and the file that joins them
        )

    @property
    def _feature_bytes(self) -> int:
        return FEATURE_BYTES[self.study.config["feature_network"]["name"]]

    def _hours(self, cell: Cell, predictions: int, tflops: float) -> float:
        if cell.backbone in self._measured:
            _, seconds = self._measured[cell.backbone]
            return predictions * seconds.get((cell.method, cell.strength), seconds["none", None]) / 3600
        return tflops / self.study.config["throughput"]["tflops"] / 3600

    @cached_property
    def _measured(self) -> dict[str, tuple[str, dict[tuple[str, float | None], float]]]:
        """The device and the seconds per noise prediction by (method, strength), of every backbone measured so far.

        A damaged file counts as missing: `bigain verify` names it, and hours are estimated without it.
        """
        measured = {}
        for backbone in self.study.backbones():
            path = Path(self.study.results, "efficiency", f"{backbone}.csv")
            if path.is_file():
                with suppress(LookupError, TypeError, ValueError, csv.Error):
                    with open(path, newline="", encoding="utf-8") as handle:
                        rows = list(csv.DictReader(handle))
                    seconds = {
                        (row["method"], float(row["strength"]) if row["strength"] else None): float(row["seconds"])
                        / int(row["batch"])
                        for row in rows
                    }
                    measured[backbone] = (f"{rows[0]['device']} (measured)", seconds)
        return measured

    def _shared_gb(self, cells: list[Cell]) -> float:
        """Return the gigabytes of latents and conditions, which all methods share."""
        total, most = 0, dict[tuple[Task, str, str], int]()
        for cell in cells:
            place = cell.task, cell.backbone, cell.dataset
            most[place] = max(self.study.images(cell), most.get(place, 0))
        for (task, backbone, dataset), images in most.items():
            family = self.study.config["backbones"][backbone]["family"]
            latent, prompt = FLOW_BYTES.get(family, DIFFUSION_BYTES)
            if task == "classification":
                total += images * latent + self.study.classes(dataset) * prompt
            elif self.study.multi_label(dataset):
                total += images * prompt
        return total / 1e9
