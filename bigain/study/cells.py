"""Cells: every (task, backbone, dataset, method, strength, seed) of a study, and where its files are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bigain.methods.ids import method_of
from bigain.methods.method import StrengthKind, Task

STRENGTH_NAMES: dict[StrengthKind, str] = {
    "merge_ratio": "ratio",
    "downsample_factor": "factor",
    "flops_reduction_percent": "reduction",
}


@dataclass(frozen=True, order=True)
class Cell:
    """One cell. `strength` is None for the uncompressed model, a merge ratio or a whole downsample factor."""

    task: Task
    backbone: str
    dataset: str
    method: str
    strength: float | int | None
    seed: int

    @property
    def strength_name(self) -> str:
        """As in a path: `ratio-0.7`, `factor-2` or `full`."""
        kind = method_of(self.method).strength_kind
        return "full" if kind == "none" else f"{STRENGTH_NAMES[kind]}-{self.strength:g}"

    @property
    def structural(self) -> bool:
        """Whether its method acts on the model itself, and has to be calibrated."""
        return method_of(self.method).acts_on == "model"

    @property
    def path(self) -> str:
        """The cell's folder below the study's: it says all of it."""
        return "/".join((self.task, self.backbone, self.dataset, self.method, self.strength_name, f"seed-{self.seed}"))


def expand(config: dict[str, Any]) -> list[Cell]:
    """Every cell of a validated config, each once, in the config's order."""
    return [cell for cells in sections(config).values() for cell in cells]


def sections(config: dict[str, Any]) -> dict[tuple[str, str | None], list[Cell]]:
    """The cells by (group, table), each where it is first needed."""
    seen: set[Cell] = set()
    found: dict[tuple[str, str | None], list[Cell]] = {}
    for group in config["cells"]:
        here = found.setdefault((group["group"], group["table"]), [])
        for cell in _cells(config, group):
            if cell not in seen:
                seen.add(cell)
                here.append(cell)
    return found


def _cells(config: dict[str, Any], group: dict[str, Any]) -> Iterator[Cell]:
    strengths = {**config["strengths"], **group["strengths"]}
    for method in map(method_of, group["methods"]):
        kind = method.strength_kind
        for strength in [None] if kind == "none" else strengths[kind]:
            for seed in config["seeds"]:
                value = method.check_strength(strength)
                yield Cell(group["task"], group["backbone"], group["dataset"], method.id, value, seed)
