"""Which columns of a study's files no line of columns.yaml describes."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq

from bigain.core.columns import column_of, described_files


def undescribed(kind: str, content: dict, path: str = "") -> list[str]:
    """Return the keys of a JSON file without a description; what lies below a described key is part of it."""
    missing = []
    for key, value in content.items():
        try:
            column_of(kind, path + key)
        except ValueError:
            missing += undescribed(kind, value, f"{path}{key}.") if isinstance(value, dict) and value else [path + key]
    return [key for key in missing if key not in ("left_out", "warnings", "items")]  # empty mappings


def undescribed_columns(results: Path, reports: Path) -> list[str]:
    """Return "file: column" for each column or key of a study's files without a description."""
    missing = []
    for file in sorted(reports.glob("*.csv")):
        kind = file.stem if file.stem in described_files() else "table"
        missing += _missing(file, kind, next(csv.reader(file.open(encoding="utf-8"))))
    for file in sorted(results.glob("efficiency/*.csv")):
        missing += _missing(file, "efficiency", next(csv.reader(file.open(encoding="utf-8"))))
    for file in sorted(results.glob("timesteps/**/*.parquet")):
        missing += _missing(file, "timesteps", pq.read_schema(file).names)
    for file in sorted(
        {*results.glob("*.parquet"), *results.glob("cells/**/*.parquet"), *results.glob("probes/**/*.parquet")}
    ):
        kind = {"chunk": "trials", "spectrum": "spectrum", "margins": "margins"}.get(file.stem.split("-")[0], file.name)
        if "margins" in file.parts:
            kind = "margins"
        missing += _missing(file, kind, pq.read_schema(file).names)
    for file in sorted(
        {*results.glob("*.parquet.json"), *results.glob("c*/**/*.json"), *results.glob("[ipt]*/**/*.json")}
    ):
        kind = "metrics.json" if file.name == "metrics.json" else "provenance"
        missing += [f"{file.name}: {key}" for key in undescribed(kind, json.loads(file.read_text(encoding="utf-8")))]
    return missing


def _missing(file: Path, kind: str, columns: list[str]) -> list[str]:
    missing = []
    for column in columns:
        try:
            column_of(kind, column)
        except ValueError as error:
            missing.append(f"{file.name}: {error}")
    return missing
