"""Outcomes of a study: the content of its tables, figures and page, in a small folder that can be committed.

The folder is laid out like results/<study>, provenance included, without what only jobs read: latents, conditions,
errors of every trial. `config.yaml` is the study's config with its defaults; `outcomes.json` holds which of its cells
are finished, what the report says about the study, and the checksum of every file. With the folder alone, without a
model and without data, workflow/outcomes.smk renders the same tables, figures and page. `bigain outcomes` writes it
(publishing.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from bigain.core.files import sha256
from bigain.core.provenance import read_sealed
from bigain.core.records import canonical
from bigain.core.report_specs import ReportSpec
from bigain.core.validation import validate
from bigain.core.yaml_files import read_yaml
from bigain.study import measurement_specs
from bigain.study.cells import Cell, Config, expand
from bigain.study.fingerprints import code_of
from bigain.study.timestep_specs import FOLDER
from bigain.study.workload import Workload

SCHEMA = 1  # of outcomes.json and the layout; a reader accepts only its own
NAME = "outcomes.json"
CONFIG = "config.yaml"  # YAML, because its order is that of tables
# Probes of Theorem 1, of Figures 2 and 3, and of the page "Is it frequency?".
SPECTRUM, TOKENS, MARGINS = "spectrum.parquet", "tokens.safetensors", "margins.parquet"
SHOWN = ("shown_cells", "planned_cells", "not_shown")  # keys of a report's spec that outcomes add
KEYS: dict[str, Any] = {  # schemas of the keys of outcomes.json
    "cells": {"type": "array", "items": {"type": "string"}, "minItems": 1},
    "report": {"type": "object", "required": ["study", "files", "results", "probed", *SHOWN]},
    "files": {"type": "object", "additionalProperties": {"type": "string"}},
}


class OutcomesError(ValueError):
    """A folder of outcomes that cannot be used. The message names the file and what is wrong with it."""


class OutcomesReportSpec(ReportSpec):
    """Coverage of a report: the study's cells that it shows, and those that it does not."""

    shown_cells: int
    planned_cells: int
    not_shown: list[str]  # what is not in the folder, and why


class Reported(Protocol):
    """A study as rendering sees it: a configured one, or the outcomes of one."""

    @property
    def config(self) -> Config: ...
    @property
    def cells(self) -> list[Cell]: ...
    @property
    def results(self) -> str: ...
    def backbones(self) -> list[str]:
        """Return the backbones that have cells."""

    def probed(self) -> list[tuple[str, str]]:
        """Return the (backbone, data set) pairs on which Theorem 1 is measured."""

    def timestep_files(self) -> list[str] | None:
        """Return the files of the accuracy at single timesteps, None if the report leaves it out."""

    def sheets(self) -> dict[tuple[str, str], list[str]]:
        """Return the sample sheets by (backbone, data set), a generated chunk per row."""

    def report_spec(self) -> str:
        """Return the spec of all tables, figures and the page."""


class Outcomes(Workload):
    """The outcomes of a study in a folder, with what rendering needs of a study. The report lies beside the folder."""

    def __init__(self, folder: str) -> None:
        content, config = read_outcomes(Path(folder))
        paths = content["cells"]
        by_path = {cell.path: cell for cell in expand(config)}
        unknown = [path for path in paths if path not in by_path]
        if unknown:
            raise OutcomesError(f"{folder}/{NAME}: {unknown[0]} is not a cell of {CONFIG}")
        super().__init__(config, [by_path[path] for path in paths])
        self.results, self.reports = folder, str(Path(folder).parent)
        self._report: OutcomesReportSpec = content["report"]

    def classes(self, dataset: str) -> int:
        """Return the number of classes that images of a data set are classified into, without the data."""
        return self._report["datasets"][dataset]["classes"]

    def probed(self) -> list[tuple[str, str]]:
        """Return the (backbone, data set) pairs on which Theorem 1 is measured."""
        return [pair for pair in measurement_specs.probed(self) if self._shows(pair, SPECTRUM)]

    def with_margins(self) -> list[tuple[str, str]]:
        """Return the (backbone, data set) pairs whose margins to the hardest wrong class are measured."""
        return [pair for pair in measurement_specs.with_margins(self) if self._shows(pair, MARGINS)]

    def shown(self) -> list[tuple[str, str]]:
        """Return the (backbone, data set) pairs that Figures 2 and 3 show."""
        pairs = measurement_specs.probed(self)
        order = list(dict(pairs))
        return sorted((pair for pair in pairs if self._shows(pair, TOKENS)), key=lambda pair: order.index(pair[0]))

    def timestep_files(self) -> list[str] | None:
        """Return the files of the accuracy at single timesteps that are here, None if nothing is classified.

        Outcomes from before it was computed do not mention it, and are rendered as they were.
        """
        if not self._report.get("timesteps"):
            return None
        return [f"{self.results}/{file}" for file in self._report["files"] if Path(file).parts[0] == FOLDER]

    def sheets(self) -> dict[tuple[str, str], list[str]]:
        """Return the sample sheets by (backbone, data set), a generated chunk per row."""
        sheets: dict[tuple[str, str], list[str]] = {}
        for cell in self.cells:
            for file in self._report["files"]:
                if Path(file).parent == Path("cells", cell.path):
                    sheets.setdefault((cell.backbone, cell.dataset), []).append(f"{self.results}/{file}")
        return sheets

    def report_spec(self) -> str:
        """Return the spec of all tables, figures and the page: that of the study, with the current code."""
        files = {f"{self.results}/{file}": spec for file, spec in self._report["files"].items()}
        return canonical({**self._report, "files": files, "code": code_of("cli_report")})

    def _shows(self, pair: tuple[str, str], probe: str) -> bool:
        """Return whether the report shows a probe of a backbone and data set."""
        return self._report["probed"] and f"probes/{'/'.join(pair)}/{probe}" in self._report["files"]


def read_outcomes(folder: Path) -> tuple[dict[str, Any], Config]:
    """Read outcomes.json and config.yaml after comparing every file of the folder with its checksum.

    Raises OutcomesError or ResultError naming a file that is missing or damaged, or another schema.
    """
    place = folder / NAME
    content = read_sealed(place)
    if content.get("schema") != SCHEMA:
        raise OutcomesError(f"{place} has schema {content.get('schema')}; this version of bigain reads schema {SCHEMA}")
    try:
        validate(place, content, KEYS)
    except ValueError as error:
        raise OutcomesError(str(error)) from error
    for name, checksum in content["files"].items():
        file = folder / name
        if not file.is_file():
            raise OutcomesError(f"{file} is missing")
        if sha256(file) != checksum:
            raise OutcomesError(f"{file} is damaged: it does not have the checksum of {NAME}")
    return content, read_yaml(folder / CONFIG)
