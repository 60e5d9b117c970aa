"""Verify a study's results: every file against its spec, its checksum and its inputs; then what belongs to no cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bigain.core.files import name_fits_content, sha256
from bigain.core.provenance import ResultError, State, read_provenance, read_sealed
from bigain.core.records import work_folder
from bigain.study.cell_specs import job_spec
from bigain.study.products import SEALED, Product, look_at, products
from bigain.study.study import Study

RESULT_FOLDERS = ("cells", "inputs", "efficiency", "probes")  # below results/<study>; nothing else writes there


class Finding(NamedTuple):
    """A file that is not what it should be: `state`, and a message that says why."""

    file: Path
    state: State | Literal["orphaned"]
    message: str


def verify(study: Study) -> Iterator[Finding]:
    """Yield everything that is wrong with a study's results: files of the study, shards, and files of no cell."""
    expected = list(products(study))
    for product in expected:
        finding = look_at(product, whole=True)
        if finding is not None:
            yield Finding(product.file, finding.state, finding.message)
        else:
            yield from _other_inputs(product)
    yield from damaged_shards(study)
    for file in orphans(study, expected):
        yield Finding(file, "orphaned", f"{file} belongs to no cell of {study.name} as it is configured")


def _other_inputs(product: Product) -> Iterator[Finding]:
    """Find inputs of a result file that have changed since it was computed from them."""
    provenance = read_sealed(product.file) if product.file.name in SEALED else read_provenance(product.file)
    for name, record in provenance.get("inputs", {}).items():
        if (current := _checksum(Path(record["file"]))) not in (None, record["sha256"]):
            message = f"{product.file} was computed from another {name}: the sha256 of {record['file']} was"
            yield Finding(product.file, "outdated", f"{message} {record['sha256']} and is {current}")


def _checksum(file: Path) -> str | None:
    """Return the sha256 of a result file as its provenance has it, None if that is missing."""
    try:
        return sha256(file) if file.name in SEALED else read_provenance(file)["sha256"]
    except (OSError, ResultError):
        return None


def damaged_shards(study: Study) -> Iterator[Finding]:
    """Find shards of the study's cells whose content is not the one that they were named after."""
    for folder in sorted(shard_folders(study)):
        for shard in sorted(folder.glob("images-*")):
            if not name_fits_content(shard):
                yield Finding(shard, "damaged", f"{shard} is damaged: its content is not what it was named after")


def shard_folders(study: Study) -> set[Path]:
    """Return the folders of the shards of the study's cells, whether or not they exist."""
    return {work_folder(job_spec(study, cell, 0)) for cell in study.cells}


def orphans(study: Study, expected: Iterable[Product]) -> list[Path]:
    """Return the result files that belong to no cell of the study."""
    root, known = Path(study.results), {file for product in expected for file in product.files}
    files = [file for name in RESULT_FOLDERS for file in sorted((root / name).rglob("*")) if file.is_file()]
    return [file for file in files if file not in known]


def as_dict(findings: list[Finding]) -> list[dict[str, Any]]:
    """Return findings as `bigain verify --json` prints them."""
    return [{"file": str(finding.file), "state": finding.state, "message": finding.message} for finding in findings]
