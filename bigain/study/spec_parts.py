"""The parts that specs are made of: what a job has to know about a backbone, a data set, a network or a cell.

A part holds nothing else, so a change in the config re-runs exactly the jobs that it concerns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from bigain.core.places import located
from bigain.core.specs import BackboneSpec, CellSpec, DatasetSpec, FeatureNetworkSpec, MethodDefinition
from bigain.datasets import FOLDER_READERS, OF_FOLDER, SOURCES, reference_of
from bigain.datasets.integrity import fingerprint
from bigain.methods.ids import method_of
from bigain.methods.method import Method
from bigain.methods.outside import of_operator
from bigain.study.cells import Cell, Config
from bigain.study.fingerprints import BACKBONE_PARTS, KERNELS_PART, READER_PARTS, STRUCTURAL_PARTS, operators
from bigain.study.folders import data_of
from bigain.study.weights import ABSENT, WeightsError, digest, identity, sha256_of


def backbone_part(config: Config, name: str, compressed: bool) -> BackboneSpec:
    """Return a backbone with its weights' identity; with `compressed`, also where token methods act on it."""
    settings = config["backbones"][name]
    part: BackboneSpec = {
        "id": name,
        "family": settings["family"],
        "path": settings["path"],
        "dtype": settings["dtype"],
        "weights": _weights(settings),
        "device": config["device"],
        "compile": config["compile"],
    }
    if compressed:
        part["levels"] = settings["levels"]
        part["blocks"] = settings["blocks"]
        part["metric_site"] = settings["metric_site"]
    return part


def dataset_part(config: Config, name: str, classified: bool = False) -> DatasetSpec:
    """Return a data set with its labels and captions: all of it, or the subset that is classified."""
    settings = config["datasets"][name]
    part = _dataset(name, settings, settings)
    return part | {"subset": settings["subset"]} if classified else part


def photos_part(config: Config, name: str) -> DatasetSpec:
    """Return the classified subset of a data set for jobs that decode its images."""
    return dataset_part(config, name, classified=True) | {"allow_missing": config["datasets"][name]["allow_missing"]}


def reference_part(config: Config, name: str) -> DatasetSpec:
    """Return the real images that generated ones are compared with: the whole set, or its `reference`."""
    settings = config["datasets"][name]
    part = _dataset(name, settings, reference_of(settings))
    return part | {"allow_missing": settings["allow_missing"]}


def network_part(config: Config) -> FeatureNetworkSpec:
    """Return the feature network with the sha256 of its file, which the job compares before it opens the file."""
    settings, checksum = config["feature_network"], ABSENT
    weights = located(settings["weights"])
    if weights.exists():
        digest(settings["weights"])  # raises if a SHA256SUMS beside it says otherwise
        checksum = sha256_of(weights)
    return {"name": settings["name"], "weights": settings["weights"], "sha256": checksum}


# Fields of `Method` under the names and values that specs have had for them: a spec identifies finished results.
SPEC_NAMES = {"noise_per": "noise", "draws_per": "draws"}
SPEC_VALUES = {
    "noise_per": {"timestep": "fresh", "image": "shared"},
    "draws_per": {"forward": "forward", "noised_image": "noise"},
}

LATER_FIELDS = ("timesteps", "ratio_times", "attention")  # in a spec only if set, as only an id does


def method_part(name: str) -> MethodDefinition:
    """Return a method's definition without its name, so that a changed preset computes its cells again."""
    method = method_of(name)
    definition: MethodDefinition = {}
    for field in fields(Method):
        absent = field.name in LATER_FIELDS and getattr(method, field.name) is None
        if field.name not in ("id", "label", "options") and not absent:
            value = str(getattr(method, field.name))
            definition[SPEC_NAMES.get(field.name, field.name)] = SPEC_VALUES.get(field.name, {}).get(value, value)
    return definition | {"options": {option: str(value) for option, value in method.options.items()}}


def methods_from(methods: Iterable[str]) -> list[str]:
    """Return the sources of those methods that come from outside, which a job adds before it uses them."""
    added = (of_operator(method_of(method).operator) for method in methods)
    return sorted({outside.source for outside in added if outside is not None})


def cell_part(cell: Cell) -> CellSpec:
    """Return a cell as a row of the tidy results has it."""
    return {
        "task": cell.task,
        "backbone": cell.backbone,
        "dataset": cell.dataset,
        "method": cell.method,
        "strength": cell.strength,
        "strength_kind": method_of(cell.method).strength_kind,
        "seed": cell.seed,
    }


# -- parts of the code that a job runs ---------------------------------------------------------------------------------


def cell_code(config: Config, cell: Cell) -> list[str]:
    """Return the parts of the code that a cell's errors or images come from."""
    model = model_code(config, cell.backbone, [cell.method])
    if cell.task == "classification":
        return ["jobs.classify", *model, reader_code(config, cell.dataset)]
    return ["jobs.generate", *model]


def model_code(config: Config, backbone: str, methods: Iterable[str] = ()) -> list[str]:
    """Return the parts of the code of a backbone and of the methods attached to it, with the kernels that compute token
    operators on a GPU."""
    modules, named = operators(), [method_of(method).operator for method in methods]
    attached = [modules.get(operator, operator) for operator in named if operator]  # from outside: a part itself
    on_tokens = any(part not in STRUCTURAL_PARTS.values() for part in attached)
    kernels = [KERNELS_PART] if config["device"] != "cpu" and on_tokens else []
    return [BACKBONE_PARTS[config["backbones"][backbone]["family"]], *attached, *kernels]


def reader_code(config: Config, dataset: str) -> str:
    """Return the part of the code that reads a data set."""
    return READER_PARTS[config["datasets"][dataset]["reader"]]


# -- identities --------------------------------------------------------------------------------------------------------


def _dataset(name: str, settings: dict[str, Any], read: dict[str, Any]) -> DatasetSpec:
    """Return a data set as the reader and folder of `read` present it."""
    part: DatasetSpec = {
        "id": name,
        "reader": read["reader"],
        "path": read["path"],
        "prompts": settings["prompts"],
        "candidates": settings["candidates"],
        "data": _data(read),
    }
    of_folder: Any = {key: read[key] for key in OF_FOLDER if key in read}
    return part | of_folder


def _data(read: dict[str, Any]) -> str:
    """Return the identity of the data that a reader reads."""
    if read["reader"] in FOLDER_READERS:
        return data_of(read)
    if SOURCES[read["reader"]].official:
        return _official_data(read["reader"], located(read["path"]).resolve())
    return digest(read["path"])


def _weights(backbone: dict[str, Any]) -> str:
    """Return the identity of weights; ABSENT also for damaged downloads, which `requirements` reports before a run."""
    try:
        return identity(backbone)
    except WeightsError:
        if backbone["hub"]:
            return ABSENT
        raise


@cache
def _official_data(reader: str, path: Path) -> str:
    """Return the identity of an official data set; ABSENT if it is missing or incomplete, which only a dry run sees.

    Cached, because every job's spec asks for it, and failing to find files takes as long as reading them.
    """
    try:
        return fingerprint(reader, str(path))
    except (OSError, ValueError):
        return ABSENT
