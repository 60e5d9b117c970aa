"""Add checksums to results of bigain before 0.3, which carry their spec but have no sealed provenance.

A file is sealed only if the spec it carries is the one that the study would compute it from now. Its checksum vouches
for its content from that moment on, not from its computation on: `sealed_afterwards` in its provenance says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bigain.core.files import NAME_DIGITS, read_json, sha256
from bigain.core.provenance import (
    InputFile,
    as_encoding,
    as_input,
    check_spec,
    provenance_file,
    read_provenance,
    write_provenance,
)
from bigain.core.records import embedded_spec
from bigain.study.products import Product, examine, products
from bigain.study.study import Study
from bigain.study.verification import is_unsealed, shard_folders

WITH_SPEC = (".parquet", ".safetensors")  # suffixes of files whose metadata can hold a spec
FACTS = ("environments", "seconds", "images_computed", "compressed")  # keys that provenance before 0.3 had, too


def seal(study: Study) -> Iterator[tuple[Path, str]]:
    """Seal a study's results in the order in which they were computed.

    Yields every file with the reason why it could not be sealed, empty if it was. Metrics, collected results and
    timings are left alone: they are computed again.
    """
    inputs = {Path(file): names for cell in study.cells for file, names in _inputs(study, cell.path).items()}
    for product in products(study):
        if product.file.suffix not in WITH_SPEC or product.phase == "metrics":
            continue
        finding = examine(product)
        if finding is None or finding.state not in ("unsealed", "missing") or not product.file.exists():
            continue
        try:
            _seal(product, inputs.get(product.file, {}))
            yield product.file, ""
        except ValueError as error:
            yield product.file, str(error)
    for folder in sorted(shard_folders(study)):
        for shard in sorted(folder.glob("images-*")):
            if is_unsealed(shard):
                shard.rename(shard.with_name(f"{shard.stem}-{sha256(shard)[:NAME_DIGITS]}{shard.suffix}"))
                yield shard, ""


def _inputs(study: Study, path: str) -> dict[str, dict[str, str]]:
    """Return the files that each of a cell's chunks is computed from, by name."""
    cell = study.cell(path)
    folder = f"{study.results}/inputs/{cell.backbone}/{cell.dataset}"
    names = {"conditions": f"{folder}/conditions.safetensors"}
    if cell.task == "classification":
        names["latents"] = f"{folder}/latents.safetensors"
    if cell.structural:
        (names["calibration"],) = study.calibration_files(path)
    return dict.fromkeys(study.chunk_files(cell), names)


def _seal(product: Product, inputs: dict[str, str]) -> None:
    """Seal one result file. Raises ValueError if it carries no spec or a different one, or has unsealed inputs."""
    spec = json.loads(product.spec())
    check_spec(product.file, _carried_spec(product), spec)
    read: dict[str, InputFile] = {
        name: (as_input if name == "calibration" else as_encoding)(file, read_provenance(file))
        for name, file in inputs.items()
    }
    write_provenance(product.file, spec, read, **_facts(product.file), sealed_afterwards=True)


def _carried_spec(product: Product) -> dict[str, Any]:
    """Read the spec that a result file carries; that of a calibration is in the chunks that were computed with it."""
    if product.phase != "calibration":
        return embedded_spec(product.file)
    chunks = [file for file in sorted(product.file.parent.glob("chunk-*")) if file.suffix in WITH_SPEC]
    if not chunks:
        raise ValueError(f"{product.file} carries no spec, and nothing was computed with it")
    return embedded_spec(chunks[0])["calibration"]["spec"]


def _facts(file: Path) -> dict[str, Any]:
    """Return what the unsealed provenance of a file, if there is one, says about its computation."""
    provenance = provenance_file(file)
    content = read_json(provenance) if provenance.exists() else {}
    return {name: content[name] for name in FACTS if name in content}
