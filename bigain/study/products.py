"""Every result file of a study, with the spec that it has to be computed from, and what is wrong with those on disk.

`bigain verify` and `bigain status` walk this list, and so does planning: a file computed with other settings, code or
inputs is computed again whatever Snakemake has recorded, because results can be copied without Snakemake's records.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from bigain.core.files import sha256
from bigain.core.provenance import (
    ResultError,
    State,
    check_spec,
    checked,
    identity,
    provenance_file,
    read_provenance,
    read_sealed,
)
from bigain.core.records import embedded_spec
from bigain.core.validation import validate
from bigain.study.study import Study
from bigain.study.timestep_specs import timesteps_file

BESIDE_RESULTS = ("images.parquet", "cells.json")  # written with results.parquet by one job
SELF_DESCRIBED = ("metrics.json", "cells.json")  # hold their own provenance, sealed
SHOWN = 20  # files listed in a message
# Schemas of the keys of a provenance that are compared, and of those files that hold their own.
INPUT: dict[str, Any] = {"type": "object", "required": ["file", "sha256"], "additionalProperties": {"type": "string"}}
INPUTS: dict[str, Any] = {"type": "object", "additionalProperties": INPUT}
PROVENANCE: dict[str, Any] = {"spec": {"type": "object"}, "inputs": INPUTS, "sha256": {"type": "string"}}
OF_SELF_DESCRIBED: dict[str, dict[str, Any]] = {
    "metrics.json": {"spec": {"type": "object"}, "inputs": INPUTS},
    "cells.json": {"spec": {"type": "object"}},
}
# By phase, a key of a spec's identity that is not in the path of its file: a change of it makes a file outdated, not
# foreign.
SETTINGS = {"calibration": "dataset", "measurements": "seed"}


class Product(NamedTuple):
    """A result file and its phase of the workflow; `spec` returns the canonical spec it has to be computed from."""

    phase: str
    file: Path
    spec: Callable[[], str]

    @property
    def is_self_described(self) -> bool:
        """True if the file holds its own provenance."""
        return self.file.name in SELF_DESCRIBED

    @property
    def files(self) -> list[Path]:
        """The file, and its provenance if that is a file of its own."""
        return [self.file] if self.is_self_described else [self.file, provenance_file(self.file)]

    def provenance(self) -> dict[str, Any]:
        """Read the provenance of the file. Raises ResultError."""
        return read_sealed(self.file) if self.is_self_described else read_provenance(self.file)


class Finding(NamedTuple):
    """Something wrong with a file: its state, and a message that says what and why."""

    file: Path
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
    for backbone in dict.fromkeys(backbone for backbone, _ in classified):
        for file in study.batch_files(backbone):
            yield Product("inputs", Path(file), partial(study.batch_spec, backbone))
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
    for backbone, dataset in study.with_timesteps():
        place = Path(timesteps_file(study, backbone, dataset))
        yield Product("metrics", place, partial(study.timesteps_spec, backbone, dataset))
    for backbone in study.backbones():
        yield Product("measurements", root / "efficiency" / f"{backbone}.csv", partial(study.efficiency_spec, backbone))
    for backbone, dataset in study.probed():
        folder = root / "probes" / backbone / dataset
        yield Product("measurements", folder / "spectrum.parquet", partial(study.spectrum_spec, backbone, dataset))
    for backbone, dataset in study.with_margins():
        for arm, file in study.margin_files(backbone, dataset).items():
            yield Product("measurements", Path(file), partial(study.arm_margins_spec, backbone, dataset, arm))
        folder = root / "probes" / backbone / dataset
        yield Product("measurements", folder / "margins.parquet", partial(study.margins_spec, backbone, dataset))
    for backbone, dataset in study.shown():
        folder = root / "probes" / backbone / dataset
        yield Product("measurements", folder / "tokens.safetensors", partial(study.token_maps_spec, backbone, dataset))


def result_files(study: Study) -> list[str]:
    """Return every result file of a study, each followed by its provenance."""
    return [str(file) for product in products(study) for file in product.files]


def outdated_files(study: Study) -> list[str]:
    """Return the result files that the study has to compute again: those of other settings, code or inputs than now.

    Metrics without a seal are among them, since `bigain seal` cannot add one. Reads provenance alone, and raises one
    ResultError naming all files that are damaged, foreign or otherwise unsealed.
    """
    outdated: list[Finding] = []
    refused: list[Finding] = []
    for product in products(study):
        finding = examine(product)
        if finding is None or finding.state == "missing":
            continue
        again = finding.state == "outdated" or (finding.state == "unsealed" and product.is_self_described)
        (outdated if again else refused).append(finding)
    if refused:
        raise _refusal(study, refused)
    return [str(finding.file) for finding in outdated]


def _refusal(study: Study, findings: list[Finding]) -> ResultError:
    """Return one error about result files that a study must not use, with what to do about them."""
    if all(finding.state == "unsealed" for finding in findings):
        advice = f"`bigain seal` compares them with the study {study.name} and adds checksums"
    else:
        advice = "`bigain verify` checks every file; delete those that are wrong, and they are computed again"
    lines = [f"  {finding.message}" for finding in findings[:SHOWN]]
    if findings[SHOWN:]:
        lines.append(f"  and {len(findings) - SHOWN} more")
    message = "holds files that cannot be used:\n" + "\n".join([*lines, advice])
    return ResultError(study.results, findings[0].state, message)


def examine(product: Product, contents: bool = False) -> Finding | None:
    """Return what is wrong with a result file, None if nothing is.

    Compares the spec in its provenance with the study's, the checksums of its inputs with what they are now, and with
    `contents` its bytes with their checksum.
    """
    expected, provenance = json.loads(product.spec()), dict[str, Any]()
    try:
        try:
            provenance = checked(product.file) if contents and not product.is_self_described else product.provenance()
        except ResultError as error:
            if error.state == "unsealed" and not product.is_self_described:
                provenance = {"spec": _embedded_spec(product.file)}
                check_spec(product.file, provenance["spec"], expected)
            raise
        if not product.file.exists():
            raise ResultError(product.file, "missing", "is missing")
        _check_form(product, provenance)
        check_spec(product.file, provenance["spec"], expected)
        _check_inputs(product.file, provenance)
    except ResultError as error:
        state = error.state
        if state == "foreign" and _place(product, provenance["spec"]) == _place(product, expected):
            state = "outdated"
        return Finding(product.file, state, str(error))
    return None


def _check_form(product: Product, provenance: dict[str, Any]) -> None:
    """Raise ResultError if a key of the provenance is missing or of another type."""
    file = product.files[-1]
    try:
        validate(file, provenance, OF_SELF_DESCRIBED.get(file.name, PROVENANCE))
    except ValueError as error:
        raise ResultError(file, "damaged", f"is damaged: {str(error).removeprefix(f'{file}: ')}") from error


def _place(product: Product, spec: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a spec's identity that decides where its file lies."""
    return {key: value for key, value in identity(spec).items() if key != SETTINGS.get(product.phase)}


def _embedded_spec(file: Path) -> dict[str, Any]:
    """Read the spec in a result file of bigain before 0.3. Raises ResultError."""
    if not file.exists():
        raise ResultError(file, "missing", "is missing")
    try:
        return embedded_spec(file)
    except ValueError as error:
        raise ResultError(file, "damaged", f"is damaged: {error.__cause__}") from error


def _check_inputs(path: Path, provenance: dict[str, Any]) -> None:
    """Raise ResultError naming an input of a result file that has changed since the file was computed from it."""
    for name, read in provenance.get("inputs", {}).items():
        if (current := _checksum(Path(read["file"]))) not in (None, read["sha256"]):
            message = f"was computed from another {name}: the sha256 of {read['file']} was"
            raise ResultError(path, "outdated", f"{message} {read['sha256']} and is {current}")


def _checksum(file: Path) -> str | None:
    """Return the sha256 of a result file as its provenance has it, None if that is missing."""
    place = file if file.name in SELF_DESCRIBED else provenance_file(file)
    try:
        return _read_checksum(file, place.stat().st_mtime_ns)
    except (OSError, ResultError):
        return None


@cache
def _read_checksum(file: Path, changed: int) -> str:
    """Read the sha256 of a file that is the input of many others; `changed` is when it was written."""
    return sha256(file) if file.name in SELF_DESCRIBED else read_provenance(file).get("sha256", "")
