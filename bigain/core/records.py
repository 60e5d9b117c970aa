"""Parquet files that carry their spec, specs as canonical JSON, and the environments that results are computed in."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from bigain.core.files import whole_file
from bigain.core.specs import CellJobSpec

SPEC_KEY = b"bigain.spec"


def canonical(spec: Mapping[str, Any]) -> str:
    """Serialise a spec as canonical JSON: sorted keys, no blanks, so that equal specs give equal texts."""
    return json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def work_folder(spec: CellJobSpec) -> Path:
    """Return the folder of a cell's shards, named after the hash of its settings, whichever images a job computes."""
    settings = {key: value for key, value in spec.items() if key not in ("images", "shard")}
    return Path(spec["results"], "work", hashlib.sha256(canonical(settings).encode()).hexdigest()[:16])


def write_table(path: Path | str, columns: Mapping[str, Any] | pa.Table, spec: Mapping[str, Any]) -> None:
    """Write a table, or columns, as parquet, whole or not at all, with the spec that made them in its metadata."""
    table = pa.table(columns).replace_schema_metadata({SPEC_KEY: canonical(spec).encode()})
    with whole_file(path) as temporary:
        save_table(temporary, table)


def save_table(path: Path, table: pa.Table) -> None:
    """Write a table as parquet with checksums of its pages.

    Measured floats hardly repeat, so a dictionary of them is larger than they are; split by byte, they compress.
    """
    floats = {field.name for field in table.schema if pa.types.is_floating(field.type)}
    pq.write_table(
        table,
        path,
        compression="zstd",
        write_page_checksum=True,
        use_dictionary=[name for name in table.column_names if name not in floats],
        column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
    )


def read_table(path: Path | str) -> pa.Table:
    """Read a parquet file. Raises ValueError naming the file if it is missing or damaged, even within a page."""
    try:
        return pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} is missing or not a whole parquet file: {error}") from error


def embedded_spec(path: Path | str) -> dict[str, Any]:
    """Read the spec in the metadata of a parquet or safetensors file.

    Raises ValueError naming a file that is missing, damaged or without a spec.
    """
    try:
        if Path(path).suffix == ".parquet":
            return json.loads(pq.read_schema(path).metadata[SPEC_KEY])
        with safe_open(path, "np") as stored:
            metadata = stored.metadata() or {}
        return json.loads(metadata.get(SPEC_KEY.decode()) or metadata["spec"])  # the outputs of cells use the first
    except (KeyError, OSError, TypeError, ValueError, pa.ArrowException, SafetensorError) as error:
        raise ValueError(f"{path} is missing, or not a file with a spec in its metadata: {error}") from error


def environment() -> dict[str, str]:
    """Return versions of packages and the machine of this process, for provenance."""
    packages = ("bigain", "torch", "diffusers", "transformers", "numpy", "snakemake")
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    machine = {"python": sys.version.split()[0], "machine": platform.machine(), "system": platform.system()}
    return versions | machine | git_state(Path(__file__).parent)


def git_state(folder: Path) -> dict[str, str]:
    """Return the commit of a checkout and whether its code was changed since; nothing outside of a checkout."""

    def git(*arguments: str) -> str | None:
        try:
            process = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            return None
        return process.stdout.strip() if process.returncode == 0 else None

    if git("ls-files", "--error-unmatch", "records.py") is None:  # installed, perhaps below another checkout
        return {}
    changed = "changed" if git("status", "--porcelain", "--", ".") else "as committed"
    return {"commit": str(git("rev-parse", "HEAD")), "code": changed}


def summary(environment: dict[str, Any]) -> str:
    """Describe in one line what in an environment may change numbers."""
    packages = ", ".join(f"{name} {environment[name]}" for name in ("torch", "diffusers") if name in environment)
    where = f"{environment['device']}, {environment['machine']} {environment['cpu']}, threads: {environment['threads']}"
    return f"{packages} on {where}" if packages else where


def distinct(environments: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return every distinct environment, in order of appearance."""
    different: list[dict[str, Any]] = []
    for environment in environments:
        if environment not in different:
            different.append(environment)
    return different


def commits(environments: Iterable[Mapping[str, Any]]) -> str:
    """Return the commits of the code in these environments; `+` marks changed code, and installed code has none."""
    names = {
        environment.get("commit", "") + ("+" if environment.get("code") == "changed" else "")
        for environment in environments
    }
    return " and ".join(sorted(names - {""}))


def summaries(file: Path | str, environments: list[dict[str, Any]]) -> str:
    """Describe the environments of a result file in one line. Raises ValueError naming the file and a missing key."""
    try:
        return " and ".join(sorted(map(summary, environments)))
    except KeyError as error:
        raise ValueError(f"{file}: environments: {error} is missing") from error
