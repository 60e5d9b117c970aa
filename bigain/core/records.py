"""Parquet records with provenance: columns of plain values, and what made them in the file's metadata."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bigain.core.files import whole_file
from bigain.core.specs import CellJobSpec

SPEC_KEY = b"bigain.spec"


def canonical(spec: Mapping[str, Any]) -> str:
    """The one text of a spec: sorted keys, no blanks. Equal settings give equal texts."""
    return json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def work_folder(spec: CellJobSpec) -> Path:
    """Where the shards of a cell's jobs are: under the hash of the cell's own settings, whichever images a job has."""
    own = {key: value for key, value in spec.items() if key not in ("images", "shard")}
    return Path(spec["results"], "work", hashlib.sha256(canonical(own).encode()).hexdigest()[:16])


def write_table(path: Path | str, columns: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
    """Write columns as parquet, whole or not at all, with the spec that made them."""
    table = pa.table(columns).replace_schema_metadata({SPEC_KEY: canonical(spec).encode()})
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_table(path: Path | str) -> pa.Table:
    """Read a parquet file. Raises ValueError naming the file if it is missing or broken."""
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} is missing or not a whole parquet file: {error}") from error


def spec_of(path: Path | str) -> dict[str, Any]:
    """The spec recorded in a parquet file. Raises ValueError naming the file if it is missing, broken or says none."""
    try:
        return json.loads(pq.read_schema(path).metadata[SPEC_KEY])
    except (KeyError, OSError, TypeError, ValueError, pa.ArrowException) as error:
        raise ValueError(f"{path} is missing, or no parquet file with the spec that made it: {error}") from error


def environment() -> dict[str, str]:
    """Versions and machine of this process, for provenance."""
    packages = ("bigain", "torch", "diffusers", "transformers", "numpy", "snakemake")
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    found |= {"python": sys.version.split()[0], "machine": platform.machine(), "system": platform.system()}
    return found | git_state(Path(__file__).parent)


def git_state(folder: Path) -> dict[str, str]:
    """The commit of a checkout and whether its code was changed since; empty outside of one."""

    def ask(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if ask("ls-files", "--error-unmatch", "records.py") is None:  # installed, perhaps below another checkout
        return {}
    changed = "changed" if ask("status", "--porcelain", "--", ".") else "as committed"
    return {"commit": str(ask("rev-parse", "HEAD")), "code": changed}


def summary(environment: dict[str, Any]) -> str:
    """What of an environment may change numbers, in one line."""
    packages = ", ".join(f"{name} {environment[name]}" for name in ("torch", "diffusers") if name in environment)
    where = f"{environment['device']}, {environment['machine']} {environment['cpu']}, threads: {environment['threads']}"
    return f"{packages} on {where}" if packages else where
