"""Publish the outcomes of a study's finished cells in a folder that can be committed (outcomes.py)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import NamedTuple

import yaml

from bigain.core.columns import documentation
from bigain.core.files import named_in_faults, sha256, write_text
from bigain.core.provenance import ResultError, checked, digest, write_sealed
from bigain.core.records import environment
from bigain.core.report_specs import CollectSpec
from bigain.study.cells import Cell
from bigain.study.measurement_specs import probed
from bigain.study.outcomes import (
    CONFIG,
    MARGINS,
    NAME,
    SCHEMA,
    SPECTRUM,
    TOKENS,
    OutcomesReportSpec,
    read_outcomes,
)
from bigain.study.products import examine, products
from bigain.study.report_specs import collect_spec, report_spec, sample_sheets
from bigain.study.study import Study
from bigain.study.timestep_specs import timesteps_file, with_timesteps
from bigain.study.workload import Workload

LARGEST = 10_000_000  # bytes of a folder, above which probes, accuracy by timestep and sample sheets are left out
DICTIONARY = "README.md"
RESULTS = "results.parquet"
DESCRIBED = (  # kinds of files, as columns.yaml names them
    *("results.parquet", "images.parquet", "cells.json", "efficiency", "spectrum", "margins", "tokens", "timesteps"),
    *("generated", "provenance"),
)

INTRODUCTION = """\
Everything that the report beside this folder shows, as `bigain outcomes` wrote it: the metrics and every image's
outcome of all finished cells, the measurements of the models, what the probes found, and the first generated images.
All tables, figures and the page are rendered from it, without a model.

`config.yaml` is the study's config; `outcomes.json` lists its finished cells and the sha256 of every file. A file X
has its provenance in `X.json`: settings, fingerprints of the code, environments, and the checksums of what X was
computed from. `cells.json` holds what has no row in a table: what a cell compressed, left out and warns of, and its
classes.

The columns:"""


class Published(NamedTuple):
    """Numbers of cells and bytes in a folder of outcomes."""

    cells: int
    planned_cells: int
    kept_cells: int  # of earlier outcomes
    taken_cells: int  # of other studies' outcomes
    dropped_cells: list[str]  # of earlier outcomes: not in the study, or of other settings or code
    bytes: int
    not_shown: list[str]


class EarlierOutcomes:
    """Earlier outcomes in a folder: digests of specs, by which a study recognises its results."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.study = folder, ""
        self._cells: dict[str, str] = {}
        self._files: dict[str, str] = {}
        if (folder / NAME).exists():
            content, config = read_outcomes(folder)
            self.study = config["study"]
            collected = checked(folder / RESULTS)["inputs"]
            self._cells = {path: source["spec"] for path, source in collected.items()}
            self._files = content["report"]["files"]

    def cells_besides(self, paths: Iterable[str]) -> list[str]:
        """Return the cells that are here and not among `paths`."""
        return sorted(self._cells.keys() - set(paths))

    def has_cell(self, path: str, spec: str) -> bool:
        """Return whether the metrics of a cell are here, computed as the spec says."""
        return self._cells.get(path) == digest(spec)

    def has_file(self, name: str, spec: str) -> bool:
        """Return whether another file is here, computed as the spec says."""
        return self._files.get(name) == digest(spec)


class FinishedStudy(Workload):
    """A study's finished cells: those that are scored, or whose metrics earlier outcomes hold.

    Their results are collected and reported as the study's are. So a study that was computed in parts, or on several
    machines, is published part by part; nothing that was computed with other settings or code is kept. `others` are
    outcomes of other studies; their cells with the same settings and code count as finished, too, and `taken` names
    the folder of each.
    """

    def __init__(self, study: Study, earlier: EarlierOutcomes, others: Sequence[EarlierOutcomes] = ()) -> None:
        if earlier.study not in ("", study.name):
            raise ValueError(f"{earlier.folder} holds the outcomes of {earlier.study}, not of {study.name}")
        self._products = {str(product.file): product for product in products(study)}
        self._earlier = earlier
        finished, self.kept, self.taken = [], set[str](), dict[str, Path]()
        for cell, file in zip(study.cells, study.score_files(), strict=True):
            if not self._is_finished(file):
                if earlier.has_cell(cell.path, self._products[file].spec()):
                    self.kept.add(cell.path)
                elif other := next((o for o in others if o.has_cell(cell.path, _spec_in(o.study, study, cell))), None):
                    self.taken[cell.path] = other.folder
                else:
                    continue
            finished.append(cell)
        super().__init__(study.config, finished)
        self.planned_cells = len(study.cells)
        if not self.cells:
            raise ValueError(f"{study.results}: no cell of {study.name} is finished and scored")

    def spec_digests(self) -> dict[str, str]:
        """Return the digest of the spec of every finished cell's metrics."""
        return dict(self.collect_spec()["cells"])

    def collect_spec(self) -> CollectSpec:
        """Return the spec of the results of the finished cells."""
        return collect_spec(self)

    def publish(self, folder: Path) -> Published:
        """Add the other files that the report shows to the collected results in a folder, and describe all of them.

        Raises ValueError naming a measurement that is missing, because most tables show those of every backbone, and
        ResultError naming a file that is damaged.
        """
        spec = report_spec(self, self.collect_spec())
        shown = [f"{self.results}/efficiency/{backbone}.csv" for backbone in self.backbones()]
        for file in shown:
            if not self._files(file):
                why = "of other settings or code" if Path(file).exists() else "missing"
                command = f"`snakemake --cores 1 {file}` with the study's --configfile makes it"
                raise ValueError(f"{file} is {why}, and most tables show it: {command}")
        size = sum(file.stat().st_size for file in folder.iterdir()) + sum(map(self._bytes, shown))
        not_shown = []
        for what, files in self._optional():
            added = sum(map(self._bytes, files))
            if unfinished := [file for file in files if not self._files(file)]:
                not_shown.append(f"{what}: {unfinished[0]} is not finished")
            elif size + added > LARGEST:
                not_shown.append(f"{what}: {added / 1e6:.1f} MB, too large to be kept here")
            else:
                shown, size = [*shown, *files], size + added
        for file in shown:
            for source, name in self._files(file).items():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        report: OutcomesReportSpec = {
            **spec,
            "files": {self._name(file): digest(self._products[file].spec()) for file in shown},
            "probed": {SPECTRUM, TOKENS} <= {Path(file).name for file in shown},
            "shown_cells": len(self.cells),
            "planned_cells": self.planned_cells,
            "not_shown": not_shown,
        }
        self._describe(folder, report)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        dropped = self._earlier.cells_besides(cell.path for cell in self.cells)
        return Published(len(self.cells), self.planned_cells, len(self.kept), len(self.taken), dropped, size, not_shown)

    def _is_finished(self, file: str) -> bool:
        """Return whether a result file is there and as it was computed. Raises ResultError if it is damaged."""
        finding = examine(self._products[file], contents=True)
        if finding is not None and finding.state not in ("missing", "outdated"):
            raise ResultError(file, finding.state, finding.message.removeprefix(f"{file} "))
        return finding is None

    def _name(self, file: str | Path) -> str:
        """Return the name of a result file in a folder of outcomes."""
        return Path(file).relative_to(self.results).as_posix()

    def _files(self, file: str) -> dict[Path, str]:
        """Return a finished result file and its provenance, of the study or of earlier outcomes, each with its name."""
        product = self._products[file]
        if self._is_finished(file):
            return {part: self._name(part) for part in product.files}
        if self._earlier.has_file(self._name(file), product.spec()):
            return {self._earlier.folder / self._name(part): self._name(part) for part in product.files}
        return {}

    def _bytes(self, file: str) -> int:
        return sum(part.stat().st_size for part in self._files(file))

    def _optional(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the optional parts of the report, each with its files: probes, accuracy by timestep, sample sheets."""
        for backbone, dataset in probed(self):
            for name in (SPECTRUM, TOKENS, MARGINS):
                file = f"{self.results}/probes/{backbone}/{dataset}/{name}"
                if file in self._products:
                    yield f"{name} of {backbone} on {dataset}", [file]
        for backbone, dataset in with_timesteps(self):
            yield f"accuracy by timestep of {backbone} on {dataset}", [timesteps_file(self, backbone, dataset)]
        for (backbone, dataset), files in sample_sheets(self).items():
            yield f"sample sheet of {backbone} on {dataset}", files

    def _describe(self, folder: Path, report: OutcomesReportSpec) -> None:
        """Write the data dictionary and outcomes.json."""
        sections = re.split(r"\n(?=### )", documentation())
        described = [text for text in sections if text.splitlines()[0].removeprefix("### ") in DESCRIBED]
        introduction = f"# Outcomes of the study {self.name}\n\n{INTRODUCTION}\n\n"
        write_text(folder / DICTIONARY, introduction + "\n".join(described))
        write_text(folder / CONFIG, yaml.safe_dump(self.config, sort_keys=False))
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        content = {
            "schema": SCHEMA,
            "cells": [cell.path for cell in self.cells],
            "report": report,
            "environment": environment(),
            "files": {file.relative_to(folder).as_posix(): sha256(file) for file in files},
        }
        write_sealed(folder / NAME, content)


def _spec_in(name: str, study: Study, cell: Cell) -> str:
    """Return the spec of a cell's metrics in a study of another name and the same settings."""
    other = copy(study)
    other.name, other.results = name, f"results/{name}"
    return other.score_spec(cell.path)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder; on success it becomes `folder`, and only then are earlier outcomes there removed.

    Raises ValueError if `folder` holds something else.
    """
    if folder.exists() and not (folder / NAME).exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} holds something other than outcomes; name a new folder")
    if (folder / NAME).exists():
        known = {NAME, *read_outcomes(folder)[0]["files"]}
        names = (file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*")) if not file.is_dir())
        if other := next((name for name in names if name not in known), None):
            raise ValueError(f"{folder / other} does not belong to the outcomes in {folder} and would be lost; move it")
    temporary, earlier = (folder.with_name(f".{folder.name}.{kind}") for kind in ("tmp", "earlier"))
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        with named_in_faults(folder):
            yield temporary
        if folder.exists():
            shutil.rmtree(earlier, ignore_errors=True)
            folder.rename(earlier)
        temporary.rename(folder)
        shutil.rmtree(earlier, ignore_errors=True)
    finally:
        if earlier.exists() and not folder.exists():  # interrupted between the two
            earlier.rename(folder)
        shutil.rmtree(temporary, ignore_errors=True)
