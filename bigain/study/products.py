"""Result files of a study, each with the spec that it is to be computed from, and how the files on disk compare.

`bigain verify` and `bigain status` walk this list, and so does planning: a file of other settings or code is computed
again whatever Snakemake remembers of it, for results travel without Snakemake's records.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bigain.core.files import sha256
from bigain.core.provenance import (
    ResultError,
    State,
    checked,
    compare,
    identity,
    provenance_file,
    read_provenance,
    read_sealed,
)
from bigain.core.records import embedded_spec
from bigain.core.validation import validate
from bigain.study.study import Study

BESIDE_RESULTS = ("images.parquet", "cells.json")  # which one job writes with results.parquet
SHOWN = 20  # files in a message
SEALED = ("metrics.json", "cells.json")  # files that hold their own spec and seal
# Schemas of the keys of a provenance that are compared; `KEYS`: of the files that hold their own.
RECORD: dict[str, Any] = {"type": "object", "required": ["file", "sha256"], "additionalProperties": {"type": "string"}}
INPUTS: dict[str, Any] = {"type": "object", "additionalProperties": RECORD}
PROVENANCE: dict[str, Any] = {"spec": {"type": "object"}, "inputs": INPUTS, "sha256": {"type": "string"}}
KEYS: dict[str, dict[str, Any]] = {
    "metrics.json": {"spec": {"type": "object"}, "inputs": INPUTS},
    "cells.json": {"spec": {"type": "object"}},
}
# By phase, what a spec may name that the file's place does not: a setting, whose change makes no file foreign.
SETTINGS = {"calibration": "dataset", "measurements": "seed"}


class Product(NamedTuple):
    """A result file: its phase of the workflow; `spec` returns the canonical spec that it is to be computed from."""

    phase: str
    file: Path
    spec: Callable[[], str]

    @property
    def files(self) -> list[Path]:
        """The file, and its provenance if that is a file of its own."""
        return [self.file] if self.file.name in SEALED else [self.file, provenance_file(self.file)]


class Finding(NamedTuple):
    """What is wrong with a result file."""

    product: Product
    state: State
    message: str


def products(study: Study) -> Iterator[Product]:
    """Yield every result file of a study in the order in which they are computed."""
    root = Path(study.results)
    classified, generated = study.pairs["classification"], study.pairs["generation"]
    for backbone, dataset in dict.fromkeys((*classified, *generated)):
        folder = root / "inputs" / backbone / dataset
        if (backbone, dataset) in classified:
            yield Product("inputs", folder / "latents.safetensors", partial(study.latents_spec, backbone, dataset))
        yield Product("inputs", folder / "conditions.safetensors", partial(study.conditions_spec, backbone, dataset))
    for dataset in dict.fromkeys(dataset for _, dataset in generated):
        features = root / "inputs" / "reference" / f"{dataset}.safetensors"
        yield Product("inputs", features, partial(study.reference_spec, dataset))
    for cell in study.cells:
        for file in study.calibration_files(cell.path):
            yield Product("calibration", Path(file), partial(study.calibration_spec, cell.path))
    for cell in study.cells:
        for chunk, file in enumerate(study.chunk_files(cell)):
            yield Product(f"{cell.task}, {cell.backbone}", Path(file), partial(study.job_spec, cell.path, chunk))
    for cell, file in zip(study.cells, study.score_files(), strict=True):
        yield Product("metrics", Path(file), partial(study.score_spec, cell.path))
    for name in ("results.parquet", *BESIDE_RESULTS):
        yield Product("metrics", root / name, study.collect_spec)
    for backbone in study.backbones():
        yield Product("measurements", root / "efficiency" / f"{backbone}.csv", partial(study.efficiency_spec, backbone))
    for backbone, dataset in study.probed():
        folder = root / "probes" / backbone / dataset
        yield Product("measurements", folder / "spectrum.parquet", partial(study.spectrum_spec, backbone, dataset))
    for backbone, dataset in study.shown():
        folder = root / "probes" / backbone / dataset
        yield Product("measurements", folder / "tokens.safetensors", partial(study.token_maps_spec, backbone, dataset))


def result_files(study: Study) -> list[str]:
    """Return every result file of a study, with its provenance."""
    return [str(file) for product in products(study) for file in product.files]


def outdated_files(study: Study) -> list[str]:
    """Return the result files that were computed with other settings, code or inputs than the study's now.

    Reads provenance alone. Raises ResultError naming every file that is damaged, of another cell, or without checksums.
    """
    findings = [finding for product in products(study) if (finding := look_at(product, whole=False))]
    refused = [
        finding for finding in findings if finding.state not in ("missing", "outdated") and not _is_cheap(finding)
    ]
    if refused:
        raise _refusal(study, refused)
    return [str(finding.product.file) for finding in findings if finding.state == "outdated" or _is_cheap(finding)]


def _is_cheap(finding: Finding) -> bool:
    """Return whether the file is a score without a seal, which is quickly computed again."""
    return finding.state == "unsealed" and finding.product.file.name in SEALED


def _refusal(study: Study, findings: list[Finding]) -> ResultError:
    """Return one error about result files that a study must not use, with what to do about them."""
    if all(finding.state == "unsealed" for finding in findings):
        advice = f"`bigain seal` compares them with the study {study.name} and adds checksums"
    else:
        advice = "`bigain verify` looks at every file; delete what is wrong, and it is computed again"
    lines = [f"  {finding.message}" for finding in findings[:SHOWN]]
    if findings[SHOWN:]:
        lines.append(f"  and {len(findings) - SHOWN} more")
    first = findings[0]
    return ResultError(study.results, first.state, "holds files that cannot be used:\n" + "\n".join([*lines, advice]))


def look_at(product: Product, whole: bool) -> Finding | None:
    """Return what is wrong with a result file, None if nothing is.

    Compares its provenance with the study and with its inputs, and if `whole`, its content with its checksum.
    """
    expected, provenance = json.loads(product.spec()), dict[str, Any]()
    try:
        try:
            provenance = _provenance(product, whole)
        except ResultError as error:
            if error.state == "unsealed" and product.file.name not in SEALED:
                provenance = {"spec": embedded_spec(product.file)}
                compare(product.file, provenance, expected)
            raise
        compare(product.file, provenance, expected)
        _compare_inputs(product.file, provenance)
    except ResultError as error:
        state = error.state
        if state == "foreign" and _place(product, provenance["spec"]) == _place(product, expected):
            state = "outdated"
        return Finding(product, state, str(error))
    return None


def _place(product: Product, spec: dict[str, Any]) -> dict[str, Any]:
    """Return which result a spec is of, as far as it decides where the file lies."""
    return {key: value for key, value in identity(spec).items() if key != SETTINGS.get(product.phase)}


def _provenance(product: Product, whole: bool) -> dict[str, Any]:
    """Read the provenance of a result file. Raises ResultError, also if it lacks a key."""
    if product.file.name in SEALED:
        provenance = read_sealed(product.file)
    else:
        provenance = checked(product.file) if whole else read_provenance(product.file)
        if not product.file.exists():
            raise ResultError(product.file, "missing", "is missing")
    file = product.files[-1]
    try:
        validate(file, provenance, KEYS.get(file.name, PROVENANCE))
    except ValueError as error:
        raise ResultError(file, "damaged", f"is damaged: {str(error).removeprefix(f'{file}: ')}") from error
    return provenance


def _compare_inputs(path: Path, provenance: dict[str, Any]) -> None:
    """Raise ResultError naming an input of a result file that has changed since the file was computed from it."""
    for name, record in provenance.get("inputs", {}).items():
        if (current := _checksum(Path(record["file"]))) not in (None, record["sha256"]):
            message = f"was computed from another {name}: the sha256 of {record['file']} was"
            raise ResultError(path, "outdated", f"{message} {record['sha256']} and is {current}")


def _checksum(file: Path) -> str | None:
    """Return the sha256 of a result file as its provenance has it, None if that is missing."""
    try:
        return sha256(file) if file.name in SEALED else read_provenance(file).get("sha256")
    except (OSError, ResultError):
        return None
