"""The parts that specs are made of: what a job has to know of a backbone, a data set, a network or a cell, and no more.

A change in the config re-runs exactly the jobs whose parts it changes.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from bigain.datasets import SOURCES, fingerprint
from bigain.methods.ids import method_of
from bigain.study.cells import Cell
from bigain.study.weights import ABSENT, WeightsError, digest, identity, sha256_of

Config = dict[str, Any]
Part = dict[str, Any]


def backbone_part(config: Config, name: str, compressed: bool) -> Part:
    """A backbone with its weights' identity; with `compressed`, where token methods act on it."""
    settings = config["backbones"][name]
    part = {"id": name, "family": settings["family"], "path": settings["path"], "dtype": settings["dtype"]}
    part |= {"weights": _identity(settings), "device": config["device"], "compile": config["compile"]}
    sites = {key: settings[key] for key in ("levels", "blocks", "metric_site")}
    return part | (sites if compressed else {})


def dataset_part(config: Config, name: str, classified: bool = False) -> Part:
    """A data set as its captions and labels are read: the part that is classified, or all of it."""
    settings = config["datasets"][name]
    part = {"id": name} | {key: settings[key] for key in ("reader", "path", "prompts", "candidates")}
    return part | {"data": _data(part)} | ({"subset": settings["subset"]} if classified else {})


def photos_part(config: Config, name: str) -> Part:
    """The part of a data set that is classified, as its images are decoded."""
    return dataset_part(config, name, classified=True) | {"allow_missing": config["datasets"][name]["allow_missing"]}


def reference_part(config: Config, name: str) -> Part:
    """The real images that a data set's generated ones are compared with: all of it, or another reader's view of it."""
    settings = config["datasets"][name]
    part = dataset_part(config, name) | {"reader": settings["reference"] or settings["reader"]}
    return part | {"data": _data(part), "allow_missing": settings["allow_missing"]}


def network_part(config: Config) -> Part:
    """The feature network with its file's sha256, which the job compares before it opens the file."""
    settings, found = config["feature_network"], ABSENT
    if Path(settings["weights"]).exists():
        digest(settings["weights"])  # against the sums beside it, if there are any
        found = sha256_of(Path(settings["weights"]))
    return {"name": settings["name"], "weights": settings["weights"], "sha256": found}


def method_part(method: str) -> Part:
    """What a method's id stands for, whatever it is called: a preset that changes computes its cells again."""
    found = method_of(method)
    part = {one.name: getattr(found, one.name) for one in fields(found) if one.name not in ("id", "label", "options")}
    return {
        **{key: str(value) for key, value in part.items()},
        "options": {k: str(v) for k, v in found.options.items()},
    }


def cell_part(cell: Cell) -> Part:
    """A cell, as a row of the tidy results says it."""
    kind = method_of(cell.method).strength_kind
    keys = ("task", "backbone", "dataset", "method", "strength", "seed")
    return {key: getattr(cell, key) for key in keys} | {"strength_kind": kind}


def _identity(backbone: Part) -> str:
    """ABSENT too for fetched weights that are wrong, which `requirements` says before the first job."""
    try:
        return identity(backbone)
    except WeightsError:
        if backbone["hub"]:
            return ABSENT
        raise


def _data(part: Part) -> str:
    """A data set's identity; ABSENT if it is not there, or not whole, which only a dry run sees."""
    if not SOURCES[part["reader"]].official:
        return digest(part["path"])
    return _official(part["reader"], Path(part["path"]).resolve())


@cache
def _official(reader: str, path: Path) -> str:
    """Asked once: every job of a study says its data, and looking for what is not there takes as long as reading it."""
    try:
        return fingerprint(reader, str(path))
    except (OSError, ValueError):
        return ABSENT
