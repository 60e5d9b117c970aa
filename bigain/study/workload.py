"""The cells of a study and the work that each of them is: images, jobs, files, noise predictions, operations."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from bigain.classifier.timesteps import Stages
from bigain.core.files import write_json
from bigain.core.messages import unknown
from bigain.datasets import SOURCES, multi_label
from bigain.datasets import load as load_dataset
from bigain.methods.method import Task
from bigain.study.cells import Cell, Config, expand, images_of_cells
from bigain.study.config import ConfigError
from bigain.study.denoisers import guided_by_null
from bigain.study.flops_table import gflops
from bigain.study.sources import available_images


class Workload:
    """The cells of a config that `bigain.study.config.load` has checked: all of them, or some."""

    def __init__(self, config: Config, cells: list[Cell] | None = None) -> None:
        self.config = config
        self.name: str = config["study"]
        self.results = f"results/{self.name}"
        self.reports = f"reports/{self.name}"
        self.logs = f"results/{self.name}/logs"
        self.cells = expand(config) if cells is None else cells
        self._by_path = {cell.path: cell for cell in self.cells}
        self._available: dict[str, int] = {}
        self._classes: dict[str, int] = {}
        self._multi_label: dict[str, bool] = {}

    def cell(self, path: str) -> Cell:
        """Return the cell with this path. Raises ConfigError with a suggestion if the study has none."""
        if path not in self._by_path:
            raise ConfigError(unknown(f"cell of study {self.name}:", path, self._by_path))
        return self._by_path[path]

    def backbones(self) -> list[str]:
        """Return the backbones that have cells, in the config's order."""
        used = {cell.backbone for cell in self.cells}
        return [name for name in self.config["backbones"] if name in used]

    @cached_property
    def pairs(self) -> dict[Task, list[tuple[str, str]]]:
        """The (backbone, data set) pairs that have cells of each task."""
        pairs: dict[Task, dict[tuple[str, str], None]] = {"classification": {}, "generation": {}}
        for cell in self.cells:
            pairs[cell.task][cell.backbone, cell.dataset] = None
        return {task: list(of_task) for task, of_task in pairs.items()}

    def classes(self, dataset: str) -> int:
        """Return the number of classes that images of a data set are classified into.

        An official data set need not be on disk.
        """
        if dataset not in self._classes:
            settings = self.config["datasets"][dataset]
            official = SOURCES[settings["reader"]].classes
            known = None if official is None else len(settings["candidates"] or range(official))
            self._classes[dataset] = known or len(load_dataset(settings).prompts)
        return self._classes[dataset]

    def multi_label(self, dataset: str) -> bool:
        """Return whether images of a data set have any number of labels."""
        if dataset not in self._multi_label:
            self._multi_label[dataset] = multi_label(self.config["datasets"][dataset])
        return self._multi_label[dataset]

    def images(self, cell: Cell) -> int:
        """Return how many images a cell classifies or generates, the first of its data set."""
        asked = self._images[cell]
        if asked is None and cell.dataset not in self._available:
            self._available[cell.dataset] = available_images(self.config["datasets"][cell.dataset])
        return asked or self._available[cell.dataset]

    def most_images(self, task: Task, backbone: str, dataset: str) -> int:
        """Return the most images that a cell of a task classifies or generates; 0 if there is none."""
        return self._most.get((task, backbone, dataset), 0)

    @cached_property
    def _images(self) -> dict[Cell, int | None]:
        return images_of_cells(self.config)

    @cached_property
    def _most(self) -> dict[tuple[Task, str, str], int]:
        most: dict[tuple[Task, str, str], int] = {}
        for cell in self.cells:
            place = cell.task, cell.backbone, cell.dataset
            most[place] = max(self.images(cell), most.get(place, 0))
        return most

    def stages(self, dataset: str) -> Stages:
        """Return the classifier's stages on a data set (Table 10)."""
        settings, default = self.config["datasets"][dataset], self.config["classification"]
        targets, keep = (settings[key] or default[key] for key in ("stages", "keep"))
        return Stages(tuple(targets), tuple(keep))

    # -- jobs --------------------------------------------------------------------------------------------------------

    def batch(self, cell: Cell) -> int:
        """Return how many images go through the model together (the config's `block`)."""
        return self.config[cell.task]["block"]

    @property
    def measures_batch(self) -> bool:
        """Return whether the classifier's batch (rows of a forward pass) is measured on every backbone."""
        return self.config["classification"]["batch"] == "auto"

    def shard(self, cell: Cell) -> int:
        """Return how many images a shard holds."""
        return self.config["shards"]["blocks"] * self.batch(cell)

    def chunks(self, cell: Cell) -> list[tuple[int, int]]:
        """Return the image ranges [first, last) of a cell's jobs, each of whole shards."""
        limits, count = self.config["shards"], self.images(cell)
        per_job = limits["per_job"]
        if limits["predictions_per_job"] is not None:
            per_shard = self.shard(cell) * self.predictions(cell)
            per_job = min(per_job, max(1, limits["predictions_per_job"] // per_shard))
        step = per_job * self.shard(cell)
        return [(first, min(first + step, count)) for first in range(0, count, step)]

    def chunk_files(self, cell: Cell) -> list[str]:
        """Return the output file of each of a cell's jobs."""
        suffix = "parquet" if cell.task == "classification" else "safetensors"
        return [f"{self.results}/cells/{cell.path}/chunk-{i}.{suffix}" for i in range(len(self.chunks(cell)))]

    def score_files(self) -> list[str]:
        """Return the metrics file of every cell."""
        return [f"{self.results}/cells/{cell.path}/metrics.json" for cell in self.cells]

    # -- cost --------------------------------------------------------------------------------------------------------

    def predictions(self, cell: Cell) -> int:
        """Return the noise predictions per image of a cell; guidance by the null condition takes two per step.

        With elimination, an upper bound: how soon classes are dropped is known only afterwards.
        """
        if cell.task == "generation":
            rows = 2 if guided_by_null(self.config["backbones"][cell.backbone]) else 1
            return rows * self.config["generation"]["steps"]
        stages, classes = self.stages(cell.dataset), self.classes(cell.dataset)
        if self.config["classification"]["elimination"] is not None:
            return stages.trials * classes
        return stages.evaluations(classes)

    def gflops(self, cell: Cell) -> float:
        """Return the GFLOPs of one noise prediction of a cell: a mean over the timesteps of its predictions.

        In classification these are the grid's; in generation, whose steps only a scheduler knows, all timesteps evenly.
        """
        name, shares = self.config["backbones"][cell.backbone]["architecture"] or cell.backbone, None
        if cell.task == "classification":
            shares = self.stages(cell.dataset).shares(self.classes(cell.dataset))
        return gflops(name, cell.method, cell.strength, shares)

    @cached_property
    def cost(self) -> dict[str, float]:
        """GFLOPs of every classification and generation job, by its output file."""
        cost = {}
        for cell in self.cells:
            per_image = self.predictions(cell) * self.gflops(cell)
            for file, (first, last) in zip(self.chunk_files(cell), self.chunks(cell), strict=True):
                cost[file] = (last - first) * per_image
        return cost

    def write_plan(self) -> None:
        """Write results/<study>/plan.json: running jobs read from it how much is left, `bigain status` the device that
        they were planned for."""
        done = [file for file in self.cost if Path(file).exists()]
        plan = {"cost": self.cost, "done_before": done, "device": self.config["device"]}
        write_json(f"{self.results}/plan.json", plan)
