"""Plan cells of a method on the images and noise of a study whose outcomes are stored, and check that the stored cells
would still come out the same. No torch, no Snakemake.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from bigain.core.messages import shortened, unknown
from bigain.core.provenance import checked, differences, digest
from bigain.methods import outside
from bigain.methods.ids import method_of
from bigain.study import measurement_specs
from bigain.study.cell_specs import score_spec
from bigain.study.cells import Cell, Config
from bigain.study.outcomes import OutcomesError, read_outcomes
from bigain.study.study import Study

PREFIX = "compare_"  # of the study that the new cells belong to
RESULTS = "results.parquet"
MEASURED = ("backbone", "definitions", "threads", "code")  # keys of a measurement's spec on which cells depend, too


def method_named(name: str) -> tuple[str, list[str]]:
    """Return the id of a method, and the `methods_from` that a config needs for it.

    `name` is an id, FILE.py with a single method, FILE.py:ID, or an entry point of "bigain.methods" with a single
    method. Raises ValueError or FileNotFoundError naming what is wrong, and what the file has.
    """
    source, colon, id = name.partition(":")
    if not source.endswith(".py") and source not in _entry_points():
        return method_of(name).id, []
    ids = outside.add_methods(source)
    if not colon and len(ids) > 1:
        raise ValueError(f"{source} has several methods: name one, as in {source}:{ids[0]} (of {', '.join(ids)})")
    if colon and id.split("~")[0] not in ids:
        raise ValueError(f"{source}: {unknown('method', id, ids)}")
    return method_of(id or ids[0]).id, [source]


def _entry_points() -> list[str]:
    from importlib.metadata import entry_points

    return [point.name for point in entry_points(group=outside.GROUP)]


class StoredStudy:
    """A study as a folder of outcomes holds it, and as it would be computed now.

    Raises OutcomesError or ResultError naming what is missing or damaged, and ConfigError if the study's models or
    data are not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        content, config = read_outcomes(folder)
        self.now = Study(config)
        self._inputs: dict[str, Any] = checked(folder / RESULTS)["inputs"]
        self.cells = [self.now.cell(path) for path in content["cells"]]

    def pairs(self, backbones: Iterable[str] | None, tasks: tuple[str, ...]) -> list[Cell]:
        """Return the stored cells of the uncompressed model that a new method is compared with, one per task, backbone
        and data set. Raises ValueError naming a backbone that has none, or the folder if it holds none at all."""
        cells = [cell for cell in self.cells if cell.method == "none" and cell.task in tasks]
        stored = list(dict.fromkeys(cell.backbone for cell in cells))
        for backbone in backbones or ():
            if backbone not in stored:
                raise ValueError(f"{self.folder}: {unknown('backbone', backbone, stored)}")
        chosen = [cell for cell in cells if backbones is None or cell.backbone in backbones]
        if not chosen:
            raise ValueError(f"{self.folder} holds no uncompressed cell of {' or '.join(tasks)} to compare with")
        first = {(cell.task, cell.backbone, cell.dataset): cell for cell in reversed(chosen)}
        return list(reversed(first.values()))

    def check_images(self, pairs: list[Cell], images: int | None) -> None:
        """Raise ValueError for fewer than two images to classify, or more than are stored of a data set."""
        for cell in pairs:
            known = self.now.images(cell)
            if images is not None and cell.task == "classification" and not 2 <= images <= known:
                raise ValueError(f"--images {images} is not allowed; 2 to {known} are stored of {cell.dataset}")

    def refuse_other_code(self, pairs: list[Cell]) -> None:
        """Raise OutcomesError if a stored cell beside the new ones would be computed with other settings, models, data
        or code now, naming what differs as far as the folder tells."""
        places = {(cell.task, cell.backbone, cell.dataset) for cell in pairs}
        beside = [cell for cell in self.cells if (cell.task, cell.backbone, cell.dataset) in places]
        changed = [cell for cell in beside if self._inputs[cell.path]["spec"] != digest(score_spec(self.now, cell))]
        if not changed:
            return
        backbones = dict.fromkeys(cell.backbone for cell in changed)
        differences = [line for name in backbones for line in self._differences(name)]
        elsewhere = "the data, the classifier or the sampler, or how scores are computed"
        reason = shortened(differences or [elsewhere], 3)
        raise OutcomesError(
            f"{self.folder}: {len(changed)} of {len(beside)} stored cells to compare with were computed with other "
            f"settings, models, data or code than now, the first of them {changed[0].path}. What differs: {reason}. "
            "Compare at the commit that computed them, or compute them again"
        )

    def _differences(self, backbone: str) -> list[str]:
        """Return what differs between the stored measurement of a backbone and a new one."""
        stored = checked(self.folder / "efficiency" / f"{backbone}.csv")["spec"]
        now: Any = measurement_specs.efficiency_spec(self.now, backbone)
        return [line for key in MEASURED for line in differences(stored[key], now[key], f"{backbone}: {key}")]

    def with_method(
        self,
        method: str,
        sources: list[str],
        strengths: Mapping[str, float | None],
        pairs: list[Cell],
        images: int | None,
    ) -> Config:
        """Return the config of a study of the new cells alone: `strengths` by backbone, everything else as stored.

        Unless `images` is None, cells classify only that many.
        """
        config: Config = deepcopy(self.now.config)
        kind = method_of(method).strength_kind
        config["study"] = PREFIX + re.sub("[^a-z0-9]+", "_", method.lower())
        config["methods_from"] = list(dict.fromkeys([*config.get("methods_from", []), *sources]))
        config["groups"], config["cells"] = None, []
        for cell in pairs:
            strength = strengths[cell.backbone]
            entry: dict[str, Any] = {"task": cell.task, "backbone": cell.backbone, "dataset": cell.dataset}
            entry |= {"methods": [method], "strengths": {} if strength is None else {kind: [strength]}}
            all_images = images is None or cell.task == "generation"
            entry["images"] = self.now.images(cell) if all_images else images
            config["cells"].append(entry)
        return config
