"""Verify a study's results: every file against its spec, its checksum and its inputs; then find files of no cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bigain.core.files import name_fits_content, sha256
from bigain.core.provenance import ResultError, read_provenance
from bigain.core.records import work_folder
from bigain.study.cell_specs import job_spec
from bigain.study.products import SELF_DESCRIBED, Finding, Product, examine, products
from bigain.study.study import Study

RESULT_FOLDERS = ("cells", "inputs", "efficiency", "probes")  # below results/<study>; only result files lie in them


def verify(study: Study) -> Iterator[Finding]:
    """Yield everything that is wrong with a study's results: its files, its shards, and files of no cell."""
    expected = list(products(study))
    for product in expected:
        finding = examine(product, contents=True)
        yield from [finding] if finding is not None else _changed_inputs(product)
    yield from _damaged_shards(study)
    for file in orphans(study, expected):
        yield Finding(file, "orphaned", f"{file} belongs to no cell of {study.name} as it is configured")


def _changed_inputs(product: Product) -> Iterator[Finding]:
    """Yield the inputs of a result file that have changed since it was computed from them."""
    for name, read in product.provenance().get("inputs", {}).items():
        if (current := _checksum(Path(read["file"]))) not in (None, read["sha256"]):
            message = f"{product.file} was computed from another {name}: the sha256 of {read['file']} was"
            yield Finding(product.file, "outdated", f"{message} {read['sha256']} and is {current}")


def _checksum(file: Path) -> str | None:
    """Return the sha256 of a result file, as recorded in its provenance if that is a file of its own; None if there is
    none."""
    try:
        return sha256(file) if file.name in SELF_DESCRIBED else read_provenance(file)["sha256"]
    except (OSError, ResultError):
        return None


def _damaged_shards(study: Study) -> Iterator[Finding]:
    """Yield the shards of the study's cells whose content does not match the digest in their names."""
    for folder in sorted(shard_folders(study)):
        for shard in sorted(folder.glob("images-*")):
            if not name_fits_content(shard):
                message = f"{shard} is damaged: its content does not match the digest in its name"
                yield Finding(shard, "damaged", message)


def shard_folders(study: Study) -> set[Path]:
    """Return the folders of the shards of the study's cells, whether or not they exist."""
    return {work_folder(job_spec(study, cell, 0)) for cell in study.cells}


def orphans(study: Study, expected: Iterable[Product]) -> list[Path]:
    """Return the files below the folders of results that are not among the expected ones."""
    root, known = Path(study.results), {file for product in expected for file in product.files}
    files = [file for name in RESULT_FOLDERS for file in sorted((root / name).rglob("*")) if file.is_file()]
    return [file for file in files if file not in known]


def as_dict(findings: list[Finding]) -> list[dict[str, Any]]:
    """Return findings as `bigain verify --json` prints them."""
    return [{"file": str(finding.file), "state": finding.state, "message": finding.message} for finding in findings]
