"""Collect a study's results: the metrics of all cells, the outcome of every image, what was compressed. No torch.

Tables, claims and figures read these files alone: `results.parquet`, `images.parquet` and `cells.json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bigain.core.columns import described
from bigain.core.files import sha256
from bigain.core.provenance import (
    InputFile,
    ResultError,
    checked,
    digest,
    read_sealed,
    write_provenance,
    write_sealed,
)
from bigain.core.records import commits, summaries, write_table
from bigain.core.report_specs import CollectSpec
from bigain.core.validation import validate
from bigain.metrics.jackknife import BLOCKS

IMAGES_FILE, CELLS_FILE = "images.parquet", "cells.json"  # beside the results
LARGEST = 1e300  # larger estimates are overflows
NUMBER, COUNT, TEXT = {"type": "number"}, {"type": "integer", "minimum": 0}, {"type": "string"}
OBJECTS = {"type": "array", "items": {"type": "object"}}
METRICS = {  # schemas of the keys of a metrics file
    "spec": {"type": "object"},
    "cell": {
        "type": "object",
        "required": ["strength"],
        "properties": {"strength": {"type": ["number", "null"]}, "seed": COUNT},
        "additionalProperties": TEXT,
    },
    "metrics": {
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "required": ["value", "low", "high"],
            "properties": {"value": {}, "low": {}, "high": {}, "n": COUNT},
            "additionalProperties": False,
        },
    },
    "items": {"type": "object", "additionalProperties": {"type": "array"}},
    "left_out": {"type": "object", "additionalProperties": TEXT},
    "warnings": {"type": "object", "additionalProperties": TEXT},
    "seconds": NUMBER,
    "environments": OBJECTS,
    "compressed": OBJECTS,
}
JACKKNIFE = {  # of `blocks`, which generated cells have
    "images": {"type": "object", "required": ["n", "seed"]},
    "left_out": {
        "type": "object",
        "additionalProperties": {"type": "array", "minItems": BLOCKS, "maxItems": BLOCKS, "items": NUMBER},
    },
}
KEPT = ("cell", "metrics", "left_out", "warnings", "classes", "blocks", "seconds", "environments", "compressed")
CELL = [
    *((name, pa.string()) for name in ("task", "backbone", "dataset", "method")),
    ("strength", pa.float64()),
    ("strength_kind", pa.string()),
    ("seed", pa.int64()),
]
RESULTS = pa.schema(
    [
        *CELL,
        ("metric", pa.string()),
        *((name, pa.float64()) for name in ("value", "low", "high")),
        ("n", pa.int64()),
        ("seconds", pa.float64()),
        *((name, pa.string()) for name in ("environment", "commit", "config", "spec")),
    ]
)
IMAGES = pa.schema(
    [
        *CELL,
        *((name, pa.int64()) for name in ("image", "label", "predicted", "acc@1")),
        *((name, pa.float64()) for name in ("map", "map_released")),
    ]
)


class CellResults(NamedTuple):
    """A cell's rows of results.parquet and of images.parquet, and its entry in cells.json."""

    rows: list[dict[str, Any]]
    images: pa.Table
    rest: dict[str, Any]
    source: InputFile  # the metrics file


def collect(spec: CollectSpec, cells: Path, output: Path, kept: Mapping[str, CellResults] | None = None) -> None:
    """Write the results of all cells of the spec, whose metrics files lie below the folder `cells`.

    `output` has a row per cell and metric, images.parquet beside it a row per classified image, and cells.json the
    rest. Cells in `kept` were collected before and have no metrics file. Raises ResultError for a metrics file that is
    missing, damaged or of another spec, and ValueError if no cell has a metric, or naming the file and its invalid key
    or the metric that is not finite.
    """
    kept = kept or {}
    collected = {
        path: kept[path] if path in kept else _of_metrics(cells / path / "metrics.json", expected, spec["config"])
        for path, expected in spec["cells"]
    }
    rows = [row for cell in collected.values() for row in cell.rows]
    if not rows:
        raise ValueError("no cell has a metric: all have too few images (see `left_out` in the metrics files)")
    images = pa.concat_tables([cell.images for cell in collected.values()])
    inputs = {path: cell.source for path, cell in collected.items()}
    for file, table in (
        (output.with_name(IMAGES_FILE), images),
        (output, pa.Table.from_pylist(rows, RESULTS)),
    ):
        write_table(file, described(table, file.name), spec)
        write_provenance(file, spec, inputs)
    write_sealed(output.with_name(CELLS_FILE), {"spec": spec, "cells": [cell.rest for cell in collected.values()]})


def collected_before(results: Path) -> dict[str, CellResults]:
    """Read collected results back, by cell. Raises ResultError naming a file that is missing or damaged."""
    inputs = checked(results)["inputs"]
    checked(results.with_name(IMAGES_FILE))
    content = read_sealed(results.with_name(CELLS_FILE))
    rows = _by_cell(pq.read_table(results).cast(RESULTS))
    images = _by_cell(pq.read_table(results.with_name(IMAGES_FILE)).cast(IMAGES))
    collected = {}
    for (path, _), rest in zip(content["spec"]["cells"], content["cells"], strict=True):
        key = tuple(rest["cell"][name] for name, _ in CELL)
        of_cell = rows[key].to_pylist() if key in rows else []
        collected[path] = CellResults(of_cell, images.get(key, IMAGES.empty_table()), rest, inputs[path])
    return collected


def taken_from(results: Path, specs: Mapping[str, str]) -> dict[str, CellResults]:
    """Read cells that another study collected, and that this one would compute alike, under the digests of this
    study's specs, which name another folder of results. Errors are those of `collected_before`."""
    before, taken = collected_before(results), {}
    for path, spec in specs.items():
        rows = [row | {"spec": spec} for row in before[path].rows]
        taken[path] = before[path]._replace(rows=rows, source={**before[path].source, "spec": spec})
    return taken


def _by_cell(table: pa.Table) -> dict[tuple[Any, ...], pa.Table]:
    """Return the rows of each cell, in their order."""
    places: dict[tuple[Any, ...], list[int]] = {}
    for i, row in enumerate(table.select([name for name, _ in CELL]).to_pylist()):
        places.setdefault(tuple(row.values()), []).append(i)
    return {key: table.take(rows) for key, rows in places.items()}


def _of_metrics(file: Path, expected: str, config: str) -> CellResults:
    """Return what is collected of a cell's metrics file, the digest of whose spec is `expected`."""
    scored = read_metrics(file, expected)
    source: InputFile = {"file": str(file), "spec": expected, "sha256": sha256(file)}
    rest = {key: scored[key] for key in KEPT if key in scored}
    return CellResults(list(_rows(file, scored, config)), _outcomes(file, scored), rest, source)


def read_metrics(file: Path, expected: str) -> dict[str, Any]:
    """Read a metrics file. Raises ResultError if the digest of its spec is not the expected one."""
    scored = read_sealed(file)
    validate(file, scored, METRICS)
    if "blocks" in scored:
        validate(f"{file}: blocks", scored["blocks"], JACKKNIFE)
        for metric, values in scored["blocks"]["left_out"].items():
            if not all(_is_finite(value) for value in values):
                raise ValueError(f"{file}: blocks.left_out.{metric} is not finite: {values}")
    if digest(scored["spec"]) != expected:
        raise ResultError(file, "outdated", "was computed with other settings or code than now")
    return scored


def _rows(file: Path, scored: dict[str, Any], config: str) -> Iterator[dict[str, Any]]:
    """Yield a cell's rows of the results."""
    computed_with = {
        "seconds": scored["seconds"],
        "environment": summaries(file, scored["environments"]),
        "commit": commits(scored["environments"]),
        "config": config,
        "spec": digest(scored["spec"]),
    }
    for metric, estimate in scored["metrics"].items():
        if not all(_is_finite(estimate[name]) for name in ("value", "low", "high")):
            raise ValueError(f"{file}: {metric} is not finite: {estimate}")
        yield {**scored["cell"], "metric": metric, **estimate, **computed_with}


def _outcomes(file: Path, scored: dict[str, Any]) -> pa.Table:
    """Return the outcomes of a cell's classified images, a row for each."""
    items, cell = scored["items"], scored["cell"]
    count = max(map(len, items.values()), default=0)
    columns = {name: items.get(name, [cell.get(name)] * count) for name in IMAGES.names}
    try:
        # Cast, because `pa.array` with a type of integers would cut off fractions.
        arrays = [pa.array(columns[column.name]).cast(column.type) for column in IMAGES]
        table = pa.Table.from_arrays(arrays, schema=IMAGES)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: items: {error}") from error
    finite = (pc.all(pc.is_finite(table[name]), min_count=0).as_py() for name in ("map", "map_released"))
    if not all(finite) or any(table[name].null_count for name in items if name in IMAGES.names):
        raise ValueError(f"{file}: items: an image's outcome is missing or not finite")
    return table


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
