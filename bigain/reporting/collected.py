"""Read what a report shows: the study's collected results and its measurements, after comparing their specs.

Tables, claims and figures read results through this module alone, so they show the same numbers. Every function raises
ResultError naming a file that is missing or damaged, or whose spec is not the one that the report's spec names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from bigain.core.provenance import ResultError, checked, digest, read_sealed
from bigain.core.records import read_table
from bigain.core.report_specs import ReportSpec

KEYS = ["task", "backbone", "dataset", "method", "strength", "seed"]  # of a cell
OUTCOMES = ["image", "label", "predicted", "acc@1", "map", "map_released"]  # of an image, in images.parquet

CellScores = dict[str, Any]
"""Content of a cell's metrics file: `cell`, `metrics`, `items` (the outcomes of its images), `compressed`, ..."""


def read_results(results: Path, spec: ReportSpec) -> pd.DataFrame:
    """Read results.parquet: a row per cell and metric."""
    checked(results, spec["results"])
    return read_table(results).to_pandas()


def read_cells(results: Path, spec: ReportSpec) -> list[CellScores]:
    """Read every cell with the outcomes of its images, from the files beside results.parquet."""
    images, rest = results.with_name("images.parquet"), results.with_name("cells.json")
    checked(images, spec["results"])
    collected = read_sealed(rest)
    if digest(collected["spec"]) != spec["results"]:
        raise ResultError(rest, "outdated", "was collected with other settings or code than now")
    items = {}
    outcomes = read_table(images).to_pandas(integer_object_nulls=True)
    for key, rows in outcomes.groupby(KEYS, sort=False, dropna=False):
        items[_key(key)] = {name: rows[name].tolist() for name in OUTCOMES if rows[name].notna().all()}
    return [{**cell, "items": items.get(_key(cell["cell"][k] for k in KEYS), {})} for cell in collected["cells"]]


def _key(values: Any) -> tuple[Any, ...]:
    """Return the key of a cell; a missing strength is None, whether it was stored as null or NaN."""
    return tuple(None if pd.isna(value) else value for value in values)


def read_measurements(files: list[Path], spec: ReportSpec) -> pd.DataFrame:
    """Read the efficiency measurements of every backbone: a row per method and strength."""
    return pd.concat([pd.read_csv(verified(file, spec)) for file in files], ignore_index=True)


def verified(file: Path, spec: ReportSpec) -> Path:
    """Return a measurement, probe or chunk that the report shows, after comparing it with the report's spec."""
    if str(file) not in spec["files"]:
        raise ValueError(f"{file}: the report of {spec['study']} does not show this file")
    checked(file, spec["files"][str(file)])
    return file
