"""Cells: every (task, backbone, dataset, method, strength, seed) of a study, and the folder of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bigain.methods.ids import method_of
from bigain.methods.method import StrengthKind, Task

Config = dict[str, Any]  # as `bigain.study.config.load` returns it: checked, defaults filled in
STRENGTH_NAMES: dict[StrengthKind, str] = {
    "merge_ratio": "ratio",
    "threshold": "threshold",
    "downsample_factor": "factor",
    "flops_reduction_percent": "reduction",
}


@dataclass(frozen=True, order=True)
class Cell:
    """A cell of the study. Without compression the strength is None; its kind depends on the method (StrengthKind)."""

    task: Task
    backbone: str
    dataset: str
    method: str
    strength: float | int | None
    seed: int

    @property
    def strength_name(self) -> str:
        """Strength as it stands in paths: `ratio-0.7`, `factor-2`, `reduction-10` or `full`."""
        kind = method_of(self.method).strength_kind
        return "full" if kind == "none" else f"{STRENGTH_NAMES[kind]}-{self.strength:g}"

    @property
    def structural(self) -> bool:
        """Return whether the method changes the model itself, and so needs a calibration."""
        return method_of(self.method).acts_on == "model"

    @property
    def path(self) -> str:
        """Folder of the cell below results/<study>/cells."""
        return "/".join((self.task, self.backbone, self.dataset, self.method, self.strength_name, f"seed-{self.seed}"))


def expand(config: Config) -> list[Cell]:
    """Return every cell of a checked config once, in the config's order."""
    return [cell for cells in sections(config).values() for cell in cells]


def sections(config: Config) -> dict[tuple[str, str | None], list[Cell]]:
    """Return the cells by (group, table), each under the first that needs it."""
    seen: set[Cell] = set()
    cells_of: dict[tuple[str, str | None], list[Cell]] = {}
    for entry in config["cells"]:
        section = cells_of.setdefault((entry["group"], entry["table"]), [])
        for cell in _cells(config, entry):
            if cell not in seen:
                seen.add(cell)
                section.append(cell)
    return cells_of


def images_per_cell(config: Config, entry: dict[str, Any]) -> int | None:
    """Return how many images each cell of an entry classifies or generates; None: all of its data set."""
    settings = config["datasets"][entry["dataset"]]
    if "images" in entry:
        return entry["images"]
    return settings["images"] if entry["task"] == "classification" else generated_images(config, settings)


def generated_images(config: Config, settings: dict[str, Any]) -> int:
    """Return how many images are generated from a data set's captions, unless an entry of `cells` says otherwise."""
    return settings["generate"] or config["generation"]["images"]


def images_of_cells(config: Config) -> dict[Cell, int | None]:
    """Return how many images each cell classifies or generates: the most that an entry asks for; None: all."""
    asked: dict[Cell, int | None] = {}
    for entry in config["cells"]:
        images = images_per_cell(config, entry)
        for cell in _cells(config, entry):
            earlier = asked.get(cell, 0)
            asked[cell] = None if images is None or earlier is None else max(images, earlier)
    return asked


def _cells(config: Config, entry: dict[str, Any]) -> Iterator[Cell]:
    """Yield the cells of one entry of the config's `cells`."""
    strengths = {**config["strengths"], **entry["strengths"]}
    for method in map(method_of, entry["methods"]):
        kind = method.strength_kind
        for strength in [None] if kind == "none" else strengths[kind]:
            for seed in config["seeds"]:
                value = method.check_strength(strength)
                yield Cell(entry["task"], entry["backbone"], entry["dataset"], method.id, value, seed)
