"""What a study costs before it is run: cells, shards, noise predictions, images, operations, hours, disk. No torch.

Operations come from the committed table of FLOPs; hours from what the study measured, else from what it assumes. Left
out of both: encoding and decoding images, loading, and what a method's planning takes beyond its counted operations.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path

from bigain.datasets import SOURCES
from bigain.study.cells import Cell, sections
from bigain.study.study import Study

TRIAL_BYTES = 5.8  # of a stored trial: measured on 1,175,000 of the embedded study, compressed
FEATURE_BYTES = {"inception": 2048 * 4, "fashion-net": 64 * 4}  # of an image's features
LATENT_BYTES = 4 * 64 * 64 * 4  # of an image's latent at 512 px
PROMPT_BYTES = 77 * 1024 * 2  # of an encoded prompt


@dataclass
class Cost:
    """Of a part of a study. `images` are those that are generated."""

    cells: int = 0
    shards: int = 0
    jobs: int = 0
    predictions: int = 0
    images: int = 0
    tflops: float = 0.0
    hours: float = 0.0
    gigabytes: float = 0.0

    def add(self, other: Cost) -> None:
        """Add another part to this one."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


@dataclass
class Plan:
    """The cost of a study by (group, table), each cell where it is first needed."""

    study: Study
    parts: dict[tuple[str, str | None], Cost] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for section, cells in sections(self.study.config).items():
            self.parts[section] = Cost()
            for cell in cells:
                self.parts[section].add(self.cost(cell))

    def total(self, group: str | None = None) -> Cost:
        """Of a group, or of everything."""
        total = Cost()
        for (name, _), cost in self.parts.items():
            if group in (None, name):
                total.add(cost)
        return total

    @property
    def groups(self) -> list[str]:
        """The groups of the study."""
        return list(dict.fromkeys(group for group, _ in self.parts))

    def disk_gb(self, cells: Iterable[Cell]) -> float:
        """Of these cells' results, with what methods share."""
        cells = list(cells)
        return sum(self.cost(cell).gigabytes for cell in cells) + self._shared_gb(cells)

    @property
    def device(self) -> str:
        """What the hours are of."""
        assumed = self.study.config["throughput"]
        names = {name for name, _ in self._measured.values()}
        if len(self._measured) < len(self.study.backbones()):
            names.add(f"{assumed['device']} at {assumed['tflops']:g} TFLOP/s")
        return ", ".join(sorted(names))

    def evaluations(self) -> dict[tuple[str, str, str], int]:
        """Noise predictions of an image, by (task, backbone, data set)."""
        return {(c.task, c.backbone, c.dataset): self.study.predictions(c) for c in self.study.cells}

    def cost(self, cell: Cell) -> Cost:
        """Of one cell."""
        images, predictions = self.study.images(cell), self.study.predictions(cell)
        generated = images if cell.task == "generation" else 0
        tflops = images * predictions * self.study.gflops(cell) / 1e3
        stored = generated * self._stored if generated else images * predictions * TRIAL_BYTES
        return Cost(
            cells=1,
            shards=sum(-(-(last - first) // self.study.shard(cell)) for first, last in self.study.chunks(cell)),
            jobs=len(self.study.chunks(cell)),
            predictions=images * predictions,
            images=generated,
            tflops=tflops,
            hours=self._hours(cell, images * predictions, tflops),
            gigabytes=2 * stored / 1e9,  # the shards, and the file that joins them
        )

    @property
    def _stored(self) -> int:
        return FEATURE_BYTES[self.study.config["feature_network"]["name"]]

    def _hours(self, cell: Cell, predictions: int, tflops: float) -> float:
        if cell.backbone in self._measured:
            _, seconds = self._measured[cell.backbone]
            arm = (cell.method, cell.strength)
            return predictions * seconds.get(arm, seconds["none", None]) / 3600
        return tflops / self.study.config["throughput"]["tflops"] / 3600

    @cached_property
    def _measured(self) -> dict[str, tuple[str, dict[tuple[str, float | None], float]]]:
        """By backbone that the study has measured: the device, and seconds of a noise prediction by (method,
        strength)."""
        found = {}
        for backbone in self.study.backbones():
            path = Path(self.study.results, "efficiency", f"{backbone}.csv")
            if path.is_file():
                with open(path, newline="", encoding="utf-8") as handle:
                    rows = list(csv.DictReader(handle))
                seconds = {
                    (row["method"], float(row["strength"]) if row["strength"] else None): float(row["seconds"])
                    / int(row["batch"])
                    for row in rows
                }
                found[backbone] = (f"{rows[0]['device']} (measured)", seconds)
        return found

    def _shared_gb(self, cells: list[Cell]) -> float:
        """Latents and conditions, once for every backbone and data set."""
        total = 0
        for task, _, dataset in {(cell.task, cell.backbone, cell.dataset) for cell in cells}:
            images, classes = self.study.size(dataset)
            if task == "classification":
                total += images * LATENT_BYTES + classes * PROMPT_BYTES
            elif SOURCES[self.study.config["datasets"][dataset]["reader"]].own_captions:
                total += self.study.generated(dataset) * PROMPT_BYTES
        return total / 1e9
