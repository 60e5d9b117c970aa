"""Verify a study's results: every file against its spec, its checksum and its inputs; then find files of no cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bigain.core.files import name_fits_content
from bigain.core.records import work_folder
from bigain.study.cell_specs import job_spec
from bigain.study.products import Finding, Product, examine, products
from bigain.study.study import Study
from bigain.study.timestep_specs import FOLDER

RESULT_FOLDERS = ("cells", "inputs", FOLDER, "efficiency", "probes")  # below results/<study>, of result files alone


def verify(study: Study) -> Iterator[Finding]:
    """Yield everything that is wrong with a study's results: its files, its shards, and files of no cell."""
    expected = list(products(study))
    for product in expected:
        finding = examine(product, contents=True)
        if finding is not None:
            yield finding
    yield from unusable_shards(study)
    for file in orphans(study, expected):
        yield Finding(file, "orphaned", f"{file} belongs to no cell of {study.name} as it is configured")


def unusable_shards(study: Study) -> Iterator[Finding]:
    """Yield the shards of the study's cells whose content does not match the digest in their names, or without one."""
    for folder in sorted(shard_folders(study)):
        for shard in sorted(folder.glob("images-*")):
            if is_unsealed(shard):
                message = f"{shard} has no checksum in its name: bigain before 0.3 wrote it, and nothing reads it"
                yield Finding(shard, "unsealed", message)
            elif not name_fits_content(shard):
                message = f"{shard} is damaged: its content does not match the digest in its name"
                yield Finding(shard, "damaged", message)


def is_unsealed(shard: Path) -> bool:
    """Return whether a shard's name ends with the digest of its inputs, without one of its own content."""
    return len(shard.stem.split("-")) == len(["images", "first", "last", "inputs"])


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
