"""A Study turns a config into jobs: for each file of the road, the one spec that says how to make it.

It knows no Snakemake: rules ask it for specs and file names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from bigain.classifier.timesteps import Stages
from bigain.core.files import write_json
from bigain.core.messages import unknown
from bigain.core.records import canonical
from bigain.datasets import SOURCES, subset
from bigain.datasets import load as load_dataset
from bigain.methods.ids import method_of
from bigain.methods.presets import METHODS
from bigain.study.cells import Cell, expand
from bigain.study.config import ConfigError, load
from bigain.study.cost import gflops
from bigain.study.fingerprints import BACKBONES, READERS, code_of, operators
from bigain.study.spec_parts import (
    backbone_part,
    cell_part,
    dataset_part,
    method_part,
    network_part,
    photos_part,
    reference_part,
)

REFERENCE_BATCH = 50  # real images that go through the feature network together
MERGE_MAPS = {"methods": ["tome~cell-4x4", "bigain_tm~cell-4x4"], "ratio": 0.9}  # Figure 3; 2x2 cells end at 0.75


class Study:
    """The cells of a config and the spec of every job."""

    def __init__(self, raw_config: dict[str, Any]) -> None:
        self.config = load(raw_config)
        self.name: str = self.config["study"]
        self.results = f"results/{self.name}"
        self.reports = f"reports/{self.name}"
        self.cells = expand(self.config)
        self._by_path = {cell.path: cell for cell in self.cells}
        self._sizes: dict[str, tuple[int, int]] = {}

    def cell(self, path: str) -> Cell:
        """The cell whose path this is. Raises ConfigError with a suggestion if the study has none."""
        if path not in self._by_path:
            raise ConfigError(unknown(f"cell of study {self.name}:", path, self._by_path))
        return self._by_path[path]

    def size(self, name: str) -> tuple[int, int]:
        """How many images of a data set are classified, and among how many classes; official numbers are known before
        the data set is there."""
        if name not in self._sizes:
            settings = self.config["datasets"][name]
            source = SOURCES[settings["reader"]]
            if source.official:
                whole = len(subset(settings["subset"])) if settings["subset"] else source.images
                self._sizes[name] = settings["images"] or whole, len(settings["candidates"] or range(source.classes))
            else:
                dataset = load_dataset(settings)
                self._sizes[name] = settings["images"] or len(dataset), len(dataset.prompts)
        return self._sizes[name]

    @property
    def gpus(self) -> int:
        """GPUs a model job asks for."""
        return 0 if self.config["device"] == "cpu" else 1

    # -- jobs of a cell ------------------------------------------------------------------------------------------

    def images(self, cell: Cell) -> int:
        """How many images the cell classifies or generates."""
        return self.size(cell.dataset)[0] if cell.task == "classification" else self.generated(cell.dataset)

    def generated(self, dataset: str) -> int:
        """How many images are generated from a data set's captions."""
        return self.config["datasets"][dataset]["generate"] or self.config["generation"]["images"]

    def stages(self, dataset: str) -> Stages:
        """The staging of the classifier on a data set (Table 10)."""
        settings = self.config["datasets"][dataset]
        both = [settings[key] or self.config["classification"][key] for key in ("stages", "keep")]
        return Stages(*map(tuple, both))

    def block(self, cell: Cell) -> int:
        """Images that go through the model together."""
        return self.config[cell.task]["block"]

    def chunks(self, cell: Cell) -> list[tuple[int, int]]:
        """The image ranges [first, last) of the cell's jobs: whole shards of whole blocks."""
        shards, count = self.config["shards"], self.images(cell)
        per_job = shards["per_job"]
        if shards["predictions_per_job"] is not None:
            per_shard = self.shard(cell) * self.predictions(cell)
            per_job = min(per_job, max(1, shards["predictions_per_job"] // per_shard))
        step = per_job * self.shard(cell)
        return [(first, min(first + step, count)) for first in range(0, count, step)]

    def shard(self, cell: Cell) -> int:
        """Images of a shard."""
        return self.config["shards"]["blocks"] * self.block(cell)

    def chunk_files(self, cell: Cell, suffix: str) -> list[str]:
        """The files of all the cell's jobs."""
        return [f"{self.results}/cells/{cell.path}/chunk-{i}.{suffix}" for i in range(len(self.chunks(cell)))]

    def job_spec(self, path: str, chunk: int) -> str:
        """The spec of one job of a cell."""
        cell = self.cell(path)
        first, last = self.chunks(cell)[chunk]
        settings = self.config[cell.task]
        if cell.task == "classification":
            own = ("timesteps", "loss", "noise", "batch", "smaller_batch", "elimination")
            protocol = {key: settings[key] for key in own} | self._stages(cell.dataset)
        else:
            guidance = self.config["backbones"][cell.backbone]["guidance"]
            network = {"feature_network": network_part(self.config), "guidance": guidance}
            protocol = {key: settings[key] for key in ("steps", "keep_images", "encoding")} | network
        needed = {"calibration": self._calibration(cell)} if cell.structural else {}
        on_tokens = method_of(cell.method).acts_on in ("tokens", "keys_values")
        return canonical(
            {
                **needed,
                "results": self.results,
                "task": cell.task,
                "backbone": backbone_part(self.config, cell.backbone, compressed=on_tokens),
                "dataset": dataset_part(self.config, cell.dataset, classified=cell.task == "classification"),
                "method": cell.method,
                "definition": method_part(cell.method),
                "strength": cell.strength,
                "seed": cell.seed,
                "protocol": protocol,
                "block": self.block(cell),
                "shard": self.shard(cell),
                "images": [first, last],
                "threads": self.config["threads"],
                "code": code_of(*self._code(cell)),
            }
        )

    # -- the code that jobs depend on ------------------------------------------------------------------------------

    def _code(self, cell: Cell) -> list[str]:
        """The parts of the code that a cell's errors or images come from."""
        model = self._model(cell.backbone, [cell.method])
        if cell.task == "classification":
            return ["jobs.classify", *model, self._reader(cell.dataset)]
        return ["jobs.generate", *model]

    def _model(self, backbone: str, methods: Iterable[str] = ()) -> list[str]:
        """The parts of a backbone and of what is attached to it."""
        named = [method_of(method).operator for method in methods]
        family, module = self.config["backbones"][backbone]["family"], operators()
        return [BACKBONES[family], *(module[operator] for operator in named if operator)]

    def _reader(self, dataset: str) -> str:
        return READERS[self.config["datasets"][dataset]["reader"]]

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
        settings, dataset = self.config["calibration"], self.config["backbones"][cell.backbone]["calibration"]
        spec = {
            "backbone": backbone_part(self.config, cell.backbone, compressed=False),
            "dataset": dataset_part(self.config, dataset),
            "method": cell.method,
            "reduction": cell.strength,
            "seed": cell.seed,
            "threads": self.config["threads"],
            "definition": method_part(cell.method),
            "code": code_of("jobs.calibrate", *self._model(cell.backbone, [cell.method]), self._reader(dataset)),
        }
        if method_of(cell.method).operator == "mosaicdiff":
            spec["images"] = settings["images"]
        elif cell.task == "classification":
            protocol = self._stages(cell.dataset)
            spec |= {"images": settings["prompts"], "updates": settings["updates"], "protocol": protocol}
        else:
            guidance = self.config["backbones"][cell.backbone]["guidance"]
            protocol = {"steps": self.config["generation"]["steps"], "guidance": guidance}
            spec |= {"images": settings["prompts"], "updates": settings["updates"], "protocol": protocol}
        return {"file": f"{self.results}/cells/{cell.path}/calibration.safetensors", "spec": spec}

    # -- shared inputs -------------------------------------------------------------------------------------------

    def latents_spec(self, backbone: str, dataset: str) -> str:
        """The spec of a data set's latents."""
        return self._input_spec(backbone, photos_part(self.config, dataset), images=self.size(dataset)[0])

    def conditions_spec(self, backbone: str, dataset: str) -> str:
        """The spec of the candidates' conditions, and of the captions' where images are generated from them."""
        generated = any(
            (cell.task, cell.backbone, cell.dataset) == ("generation", backbone, dataset) for cell in self.cells
        )
        captions = self.generated(dataset) if generated else 0
        return self._input_spec(backbone, dataset_part(self.config, dataset), captions=captions)

    def _input_spec(self, backbone: str, dataset: dict[str, Any], **count: int) -> str:
        return canonical(
            {
                "backbone": backbone_part(self.config, backbone, compressed=False),
                "dataset": dataset,
                "threads": self.config["threads"],
                "code": code_of("jobs.encode", *self._model(backbone), READERS[dataset["reader"]]),
                **count,
            }
        )

    def reference_spec(self, dataset: str) -> str:
        """The spec of the real images' features: the whole data set (or another reader's view of it), whatever part of
        it is classified."""
        reference = reference_part(self.config, dataset)
        return canonical(
            {
                "dataset": reference,
                "recipe": self.config["generation"]["real"] | {"batch": REFERENCE_BATCH},
                "feature_network": network_part(self.config),
                "threads": self.config["threads"],
                "device": self.config["device"],
                "code": code_of("jobs.reference", READERS[reference["reader"]]),
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
                "backbone": backbone_part(self.config, backbone, compressed=True),
                "arms": [[*arm, calibration] for arm, calibration in arms.items()],
                "threads": self.config["threads"],
                "definitions": {method: method_part(method) for method, _ in arms},
                "code": code_of("jobs.efficiency", *self._model(backbone, [method for method, _ in arms])),
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

    # -- looks inside ----------------------------------------------------------------------------------------------

    def probed(self) -> list[tuple[str, str]]:
        """The backbones and data sets that are looked into: those that token methods classify on, one right class an
        image (what has captions of its own has several)."""
        found = dict.fromkeys((cell.backbone, cell.dataset) for cell in self.cells if self._on_tokens(cell))
        readers = {name: settings["reader"] for name, settings in self.config["datasets"].items()}
        return [(b, d) for b, d in found if not SOURCES[readers[d]].own_captions and self.size(d)[1] > 1]

    def shown(self) -> list[tuple[str, str]]:
        """Where Figures 2 and 3 are from: the first data set of each backbone that is looked into."""
        first: dict[str, str] = {}
        for backbone, dataset in self.probed():
            first.setdefault(backbone, dataset)
        return list(first.items())

    def _on_tokens(self, cell: Cell) -> bool:
        """Whether a cell classifies with a token method, none of its variants."""
        preset = cell.method in METHODS and method_of(cell.method).acts_on in ("tokens", "keys_values")
        return cell.task == "classification" and preset

    def token_maps_spec(self, backbone: str, dataset: str) -> str:
        """The spec of Figures 2 and 3 on a backbone and data set."""
        settings = self.config["probes"]
        own = {key: settings[key] for key in ("timestep", "draws")} | {"images": settings["shown"]}
        return self._probe_spec(backbone, dataset, MERGE_MAPS["methods"], MERGE_MAPS | own)

    def spectrum_spec(self, backbone: str, dataset: str) -> str:
        """The spec of Theorem 1's bands: the uncompressed model, then every token method and strength of the study."""
        settings = self.config["probes"]
        mine = [cell for cell in self.cells if (cell.backbone, cell.dataset) == (backbone, dataset)]
        arms = dict.fromkeys((cell.method, cell.strength) for cell in mine if self._on_tokens(cell))
        own = {key: settings[key] for key in ("timesteps", "bands")}
        own["images"] = min(settings["images"], self.size(dataset)[0])
        arms_first = {"arms": [["none", None], *map(list, arms)], "batch": self.config["classification"]["batch"]}
        return self._probe_spec(backbone, dataset, [method for method, _ in arms], arms_first | own)

    def _probe_spec(self, backbone: str, dataset: str, methods: list[str], own: dict[str, Any]) -> str:
        return canonical(
            {
                "backbone": backbone_part(self.config, backbone, compressed=True),
                "dataset": photos_part(self.config, dataset),
                "seed": self.config["seeds"][0],
                "threads": self.config["threads"],
                "definitions": {method: method_part(method) for method in methods},
                "code": code_of("jobs.probes", *self._model(backbone, methods), self._reader(dataset)),
                **own,
            }
        )

    # -- what is published elsewhere -------------------------------------------------------------------------------

    def fetchable(self) -> list[str]:
        """The backbones and data sets of the study that can be downloaded, and the Inception if it is used."""
        hubs = [name for name in self.backbones() if self.config["backbones"][name]["hub"]]
        used = dict.fromkeys(cell.dataset for cell in self.cells)
        sets = [name for name in used if SOURCES[self.config["datasets"][name]["reader"]].downloadable]
        network = ["inception"] if self.config.get("feature_network", {}).get("name") == "inception" else []
        return hubs + sets + network

    def fetch_spec(self, name: str) -> str:
        """What `bigain fetch` needs of a thing's settings."""
        known = {**self.config["backbones"], **self.config["datasets"], "inception": self.config.get("feature_network")}
        keys = ("family", "hub", "revision", "path", "reader", "weights")
        return canonical({key: value for key, value in known[name].items() if key in keys})

    def score_spec(self, path: str) -> str:
        """The spec of a cell's metrics."""
        cell = self.cell(path)
        return canonical(
            {
                "cell": cell_part(cell),
                "dataset": dataset_part(self.config, cell.dataset, classified=cell.task == "classification"),
                "images": self.images(cell),
                "network": self.config.get("feature_network", {}).get("name"),
                "code": code_of("score", self._reader(cell.dataset)),
            }
        )

    # -- collecting and reporting ----------------------------------------------------------------------------------

    def collect_spec(self) -> str:
        """The spec of the tidy results."""
        return canonical({"code": code_of("score")})

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
                "of_paper": any(self.config["backbones"][name]["architecture"] for name in self.backbones()),
                "classification": classification,
                "generation": self.config["generation"],
                "datasets": {name: self._protocol(name) for name in dict.fromkeys(c.dataset for c in self.cells)},
                "backbones": {name: settings["family"] for name, settings in self.config["backbones"].items()},
                "seeds": self.config["seeds"],
                "probed": bool(self.probed()),
                "code": code_of("cli_report"),
            }
        )

    def _protocol(self, dataset: str) -> dict[str, Any]:
        """How a data set is classified and generated, for print."""
        tasks = {cell.task for cell in self.cells if cell.dataset == dataset}
        found: dict[str, Any] = {"reader": self.config["datasets"][dataset]["reader"]}
        if "classification" in tasks:
            images, classes = self.size(dataset)
            found |= {"images": images, "classes": classes, **self._stages(dataset)}
        return found | ({"generated": self.generated(dataset)} if "generation" in tasks else {})

    @cached_property
    def cost(self) -> dict[str, float]:
        """GFLOPs of every job's file."""
        cost = {}
        for cell in self.cells:
            suffix = "parquet" if cell.task == "classification" else "safetensors"
            image = self.predictions(cell) * self.gflops(cell)
            for file, (first, last) in zip(self.chunk_files(cell, suffix), self.chunks(cell), strict=True):
                cost[file] = (last - first) * image
        return cost

    def write_plan(self) -> None:
        """Write the plan that running jobs read to say how much is left."""
        done = [file for file in self.cost if Path(file).exists()]
        write_json(f"{self.results}/plan.json", {"cost": self.cost, "done_before": done})

    def predictions(self, cell: Cell) -> int:
        """Noise predictions of one image of the cell; both halves of guidance count."""
        if cell.task == "generation":
            return 2 * self.config["generation"]["steps"]
        stages, classes = self.stages(cell.dataset), self.size(cell.dataset)[1]
        if self.config["classification"]["elimination"] is not None:
            return stages.trials * classes  # at most: how soon classes are dropped is known only when it is done
        return stages.evaluations(classes)

    def gflops(self, cell: Cell) -> float:
        """GFLOPs of one noise prediction of the cell."""
        name = self.config["backbones"][cell.backbone]["architecture"] or cell.backbone
        return gflops(name, cell.method, cell.strength)

    def _stages(self, dataset: str) -> dict[str, list[int]]:
        stages = self.stages(dataset)
        return {"stages": list(stages.targets), "keep": list(stages.keep)}
