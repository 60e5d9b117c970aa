"""A Study turns a config into jobs: for each file of the road, the one spec that says how to make it.

It knows no Snakemake: rules ask it for specs and file names.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from bigain.datasets import load as load_dataset
from bigain.datasets.base import Dataset
from bigain.files import write_json
from bigain.methods import unknown
from bigain.records import canonical
from bigain.schedule import Stages
from bigain.study.cells import Cell, expand
from bigain.study.config import ConfigError, digest, load
from bigain.study.cost import gflops
from bigain.variants import method_of

# Raise a number when the numerics of a step change: all that depends on that step is computed again.
VERSIONS = {
    "encode": 1,
    "classify": 2,
    "generate": 2,
    "reference": 1,
    "score": 1,
    "calibrate": 1,
    "efficiency": 1,
    "report": 4,
}


class Study:
    """The cells of a config and the spec of every job."""

    def __init__(self, raw_config: dict[str, Any]) -> None:
        self.config = load(raw_config)
        self.name: str = self.config["study"]
        self.results = f"results/{self.name}"
        self.reports = f"reports/{self.name}"
        self.cells = expand(self.config)
        self._by_path = {cell.path: cell for cell in self.cells}
        self._datasets: dict[str, Dataset] = {}

    def cell(self, path: str) -> Cell:
        """The cell whose path this is. Raises ConfigError with a suggestion if the study has none."""
        if path not in self._by_path:
            raise ConfigError(unknown(f"cell of study {self.name}:", path, self._by_path))
        return self._by_path[path]

    def dataset(self, name: str) -> Dataset:
        """A data set of the config, at its configured length."""
        if name not in self._datasets:
            settings = self.config["datasets"][name]
            self._datasets[name] = load_dataset(settings["reader"], settings["path"], settings["images"])
        return self._datasets[name]

    @property
    def gpus(self) -> int:
        """GPUs a model job asks for."""
        return 0 if self.config["device"] == "cpu" else 1

    # -- jobs of a cell ------------------------------------------------------------------------------------------

    def images(self, cell: Cell) -> int:
        """How many images the cell classifies or generates."""
        return len(self.dataset(cell.dataset)) if cell.task == "classification" else self.config["generation"]["images"]

    def block(self, cell: Cell) -> int:
        """Images that go through the model together."""
        return self.config[cell.task]["block"]

    def chunks(self, cell: Cell) -> list[tuple[int, int]]:
        """The image ranges [first, last) of the cell's jobs: whole shards of whole blocks."""
        per_job = self.config["shards"]["per_job"] * self.config["shards"]["blocks"] * self.block(cell)
        count = self.images(cell)
        return [(first, min(first + per_job, count)) for first in range(0, count, per_job)]

    def chunk_files(self, cell: Cell, suffix: str) -> list[str]:
        """The files of all the cell's jobs."""
        return [f"{self.results}/cells/{cell.path}/chunk-{i}.{suffix}" for i in range(len(self.chunks(cell)))]

    def job_spec(self, path: str, chunk: int) -> str:
        """The spec of one job of a cell."""
        cell = self.cell(path)
        first, last = self.chunks(cell)[chunk]
        settings = self.config[cell.task]
        if cell.task == "classification":
            protocol = {key: settings[key] for key in ("stages", "keep", "timesteps", "loss", "batch")}
        else:
            guidance = self.config["backbones"][cell.backbone]["guidance"]
            network = {"feature_network": self._network(), "guidance": guidance}
            protocol = {key: settings[key] for key in ("steps", "keep_images")} | network
        needed = {"calibration": self._calibration(cell)} if cell.structural else {}
        on_tokens = method_of(cell.method).acts_on in ("tokens", "keys_values")
        return canonical(
            {
                **needed,
                "results": self.results,
                "task": cell.task,
                "backbone": self._backbone(cell.backbone, compressed=on_tokens),
                "dataset": self._dataset(cell.dataset),
                "method": cell.method,
                "strength": cell.strength,
                "seed": cell.seed,
                "protocol": protocol,
                "block": self.block(cell),
                "shard": self.config["shards"]["blocks"] * self.block(cell),
                "images": [first, last],
                "threads": self.config["threads"],
                "version": VERSIONS["classify" if cell.task == "classification" else "generate"],
            }
        )

    # -- calibrations of structural methods ------------------------------------------------------------------------

    def calibration_files(self, path: str) -> list[str]:
        """The calibration that a cell needs: one file, or none."""
        cell = self.cell(path)
        return [self._calibration(cell)["file"]] if cell.structural else []

    def calibration_spec(self, path: str) -> str:
        """The spec of the calibration for a cell."""
        return canonical(self._calibration(self.cell(path))["spec"])

    def _calibration(self, cell: Cell) -> dict[str, Any]:
        """The file of a cell's calibration, and how it is made: DiP-GO's depends on the task's timesteps."""
        settings = self.config["calibration"]
        spec = {
            "backbone": self._backbone(cell.backbone, compressed=False),
            "dataset": self._dataset(self.config["backbones"][cell.backbone]["calibration"]),
            "method": cell.method,
            "reduction": cell.strength,
            "seed": cell.seed,
            "threads": self.config["threads"],
            "version": VERSIONS["calibrate"],
        }
        if method_of(cell.method).operator == "mosaicdiff":
            spec["images"] = settings["images"]
        elif cell.task == "classification":
            protocol = {key: self.config["classification"][key] for key in ("stages", "keep")}
            spec |= {"images": settings["prompts"], "updates": settings["updates"], "protocol": protocol}
        else:
            guidance = self.config["backbones"][cell.backbone]["guidance"]
            protocol = {"steps": self.config["generation"]["steps"], "guidance": guidance}
            spec |= {"images": settings["prompts"], "updates": settings["updates"], "protocol": protocol}
        return {"file": f"{self.results}/cells/{cell.path}/calibration.safetensors", "spec": spec}

    # -- shared inputs -------------------------------------------------------------------------------------------

    def latents_spec(self, backbone: str, dataset: str) -> str:
        """The spec of a data set's latents."""
        return self._input_spec(backbone, dataset, images=len(self.dataset(dataset)))

    def conditions_spec(self, backbone: str, dataset: str) -> str:
        """The spec of the candidates' conditions, and of the captions' where images are generated from them."""
        generated = any(
            (cell.task, cell.backbone, cell.dataset) == ("generation", backbone, dataset) for cell in self.cells
        )
        return self._input_spec(backbone, dataset, captions=self.config["generation"]["images"] if generated else 0)

    def _input_spec(self, backbone: str, dataset: str, **count: int) -> str:
        return canonical(
            {
                "backbone": self._backbone(backbone, compressed=False),
                "dataset": self._dataset(dataset),
                "threads": self.config["threads"],
                "version": VERSIONS["encode"],
                **count,
            }
        )

    def reference_spec(self, dataset: str) -> str:
        """The spec of the real images' features: the whole data set, whatever part of it is classified."""
        return canonical(
            {
                "dataset": self._dataset(dataset),
                "feature_network": self._network(),
                "threads": self.config["threads"],
                "device": self.config["device"],
                "version": VERSIONS["reference"],
            }
        )

    def efficiency_spec(self, backbone: str) -> str:
        """The spec of a backbone's FLOPs and seconds: every method and strength that the study has for it."""
        arms: dict[tuple[str, float | int | None], str | None] = {("none", None): None}
        for cell in self.cells:
            if cell.backbone == backbone:
                files = self.calibration_files(cell.path)
                arms.setdefault((cell.method, cell.strength), files[0] if files else None)
        return canonical(
            {
                "backbone": self._backbone(backbone, compressed=True),
                "arms": [[*arm, calibration] for arm, calibration in arms.items()],
                "threads": self.config["threads"],
                "version": VERSIONS["efficiency"],
                **self.config["efficiency"],
            }
        )

    def efficiency_inputs(self, backbone: str) -> list[str]:
        """The calibrations that a backbone's measurements need."""
        arms = json.loads(self.efficiency_spec(backbone))["arms"]
        return [calibration for *_, calibration in arms if calibration is not None]

    def backbones(self) -> list[str]:
        """The backbones that have cells, in the config's order."""
        used = {cell.backbone for cell in self.cells}
        return [name for name in self.config["backbones"] if name in used]

    def score_spec(self, path: str) -> str:
        """The spec of a cell's metrics."""
        cell = self.cell(path)
        return canonical(
            {
                "cell": self._describe(cell),
                "dataset": self._dataset(cell.dataset),
                "network": self.config.get("feature_network", {}).get("name"),
                "version": VERSIONS["score"],
            }
        )

    # -- collecting and reporting ----------------------------------------------------------------------------------

    def score_files(self) -> list[str]:
        """The metrics files of all cells."""
        return [f"{self.results}/cells/{cell.path}/metrics.json" for cell in self.cells]

    def sheets(self) -> dict[tuple[str, str], list[str]]:
        """For every backbone and data set with stored images: the first chunk of each cell, a row of the sheet each."""
        sheets: dict[tuple[str, str], list[str]] = {}
        for cell in self.cells:
            first = cell.seed == self.config["seeds"][0]
            if cell.task == "generation" and first and self.config["generation"]["keep_images"]:
                sheets.setdefault((cell.backbone, cell.dataset), []).append(self.chunk_files(cell, "safetensors")[0])
        return sheets

    def report_spec(self) -> str:
        """What the tables and the page say about the study itself."""
        classification = self.config["classification"]
        return canonical(
            {
                "study": self.name,
                "classification": classification,
                "generation": self.config["generation"],
                "backbones": {name: settings["family"] for name, settings in self.config["backbones"].items()},
                "seeds": self.config["seeds"],
                "version": VERSIONS["report"],
            }
        )

    @cached_property
    def cost(self) -> dict[str, float]:
        """GFLOPs of every job's file."""
        cost = {}
        for cell in self.cells:
            suffix = "parquet" if cell.task == "classification" else "safetensors"
            image = self._predictions(cell) * gflops(cell.backbone, cell.method, cell.strength)
            for file, (first, last) in zip(self.chunk_files(cell, suffix), self.chunks(cell), strict=True):
                cost[file] = (last - first) * image
        return cost

    def write_plan(self) -> None:
        """Write the plan that running jobs read to say how much is left."""
        done = [file for file in self.cost if Path(file).exists()]
        write_json(f"{self.results}/plan.json", {"cost": self.cost, "done_before": done})

    def _predictions(self, cell: Cell) -> int:
        if cell.task == "generation":
            return 2 * self.config["generation"]["steps"]
        settings = self.config["classification"]
        classes = len(self.dataset(cell.dataset).prompts)
        return Stages(tuple(settings["stages"]), tuple(settings["keep"])).evaluations(classes)

    # -- parts of specs --------------------------------------------------------------------------------------------

    def _backbone(self, name: str, compressed: bool) -> dict[str, Any]:
        settings = self.config["backbones"][name]
        part = {"id": name, "family": settings["family"], "path": settings["path"], "dtype": settings["dtype"]}
        part |= {"weights": digest(settings["path"]), "device": self.config["device"]}
        sites = {key: settings[key] for key in ("levels", "blocks", "metric_site")}
        return part | (sites if compressed else {})

    def _dataset(self, name: str) -> dict[str, Any]:
        settings = self.config["datasets"][name]
        return {"id": name, "reader": settings["reader"], "path": settings["path"], "data": digest(settings["path"])}

    def _network(self) -> dict[str, str]:
        settings = self.config["feature_network"]
        return {**settings, "sha256": digest(settings["weights"])}

    def _describe(self, cell: Cell) -> dict[str, Any]:
        kind = method_of(cell.method).strength_kind
        return {
            "task": cell.task,
            "backbone": cell.backbone,
            "dataset": cell.dataset,
            "method": cell.method,
            "strength_kind": kind,
            "strength": cell.strength,
            "seed": cell.seed,
        }
