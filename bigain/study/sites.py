"""Check that every backbone has the levels and blocks on which methods act, and that all strengths fit the grids there.

Planning thus refuses, in one line per problem, what `bigain.compression` would refuse when it attaches the method.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bigain.methods.ids import method_of
from bigain.methods.method import Method
from bigain.methods.schedules import Schedule
from bigain.study.cells import Config
from bigain.study.denoisers import Denoiser, denoiser_of
from bigain.study.weights import WeightsError


def site_faults(config: Config) -> Iterator[str]:
    """Find levels and blocks that a backbone lacks, and strengths that its token grids cannot reach."""
    sites = {name: Sites(name, config["backbones"][name]) for name in _used(config)}
    for backbone in sites.values():
        yield from backbone.fault
    for number, entry in enumerate(config["cells"]):
        for method in map(method_of, entry["methods"]):
            if method.acts_on not in ("tokens", "keys_values") or sites[entry["backbone"]].denoiser is None:
                continue
            try:
                places = sites[entry["backbone"]].of(method)
            except ValueError as error:
                yield f"cells.{number}.methods: {method.id} on {entry['backbone']}: {error}"
                continue
            yield from _unreachable(config, number, method, sites[entry["backbone"]], places)


@dataclass
class Sites:
    """Default sites of methods on a backbone; `fault` lists the errors of its `levels` or `blocks`.

    `denoiser` is None for weights that `bigain.study.sources` reports as missing.
    """

    name: str
    settings: dict[str, Any]
    denoiser: Denoiser | None = None
    fault: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        levels, blocks, family = (self.settings[key] for key in ("levels", "blocks", "family"))
        try:
            self.denoiser = denoiser_of(self.settings)
        except WeightsError:
            return
        if levels is None and blocks is None:
            return
        key = "blocks" if levels is None or (family == "unet" and blocks is not None) else "levels"
        try:
            self.denoiser.chosen(levels, blocks)
        except ValueError as error:
            self.fault = [f"backbones.{self.name}.{key}: {self.settings[key]} is not allowed: {error}"]

    def of(self, method: Method) -> tuple[int, ...]:
        """Return the places where a token method acts; none if there is a `fault`. Raises the errors of `Denoiser`."""
        if self.denoiser is None or (self.fault and method.levels is None and method.blocks is None):
            return ()
        self.denoiser.check_layers(method)
        return self.denoiser.chosen(method.levels or self.settings["levels"], method.blocks or self.settings["blocks"])


def _used(config: Config) -> list[str]:
    return sorted({entry["backbone"] for entry in config["cells"]})


def _unreachable(config: Config, number: int, method: Method, sites: Sites, places: tuple[int, ...]) -> Iterator[str]:
    """Find strengths of a cell entry that a grid cannot reach or that reduce none of the grids, and factors that reduce
    the grids to the same sizes."""
    assert sites.denoiser is not None
    grids = [sites.denoiser.grid_at(place) for place in places]
    kind, entry = method.strength_kind, config["cells"][number]
    where = f"cells.{number}.strengths.{kind}" if kind in entry["strengths"] else f"strengths.{kind}"
    factors: dict[tuple[float, ...], float] = {}
    for strength in {**config["strengths"], **entry["strengths"]}[kind]:
        keys, schedule = [], Schedule(method, strength)
        for place, grid in zip(places, grids, strict=True):
            try:
                keys.append(schedule.tokens_left(*grid)[1])
            except ValueError as error:
                at = f"at level {place} of" if sites.denoiser.family == "unet" else "on"
                yield f"{where}: {strength} is not reachable by {method.id} {at} {sites.name}: {error}"
                break
        else:
            try:
                schedule.check_effect(grids)
            except ValueError as error:
                yield f"{where}: {strength} does nothing on {sites.name}: {error}"
                continue
            same = factors.setdefault(tuple(keys), strength)
            if kind == "downsample_factor" and places and same != strength:
                yield (
                    f"{where}: {strength} and {same} both give {' and '.join(map(str, dict.fromkeys(keys)))} keys on "
                    f"{sites.name}; keep one of them"
                )
