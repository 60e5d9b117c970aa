"""Add checksums to the results of bigain before 0.3, which carry their spec but no seal.

A file is sealed only if the spec in it is the one that the study computes it from now. Its checksum vouches for what
the file has been since then, which its provenance says (`sealed_afterwards`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bigain.core.files import NAME_DIGITS, read_json, sha256
from bigain.core.provenance import (
    InputRecord,
    compare,
    provenance_file,
    read_provenance,
    record,
    write_provenance,
)
from bigain.core.records import embedded_spec
from bigain.study.products import Product, look_at, products
from bigain.study.study import Study
from bigain.study.verification import is_unsealed, shard_folders

WITH_SPEC = (".parquet", ".safetensors")  # files whose metadata can hold a spec
FACTS = ("environments", "seconds", "images_computed", "compressed")  # of a provenance that was not sealed


def seal(study: Study) -> Iterator[str]:
    """Seal a study's results in the order in which they were computed; yield a line per file.

    What carries no spec is left: metrics and measurements are computed again.
    """
    inputs = {Path(file): names for cell in study.cells for file, names in _inputs(study, cell.path).items()}
    for product in products(study):
        if product.file.suffix not in WITH_SPEC or product.phase == "metrics":
            continue
        finding = look_at(product, whole=False)
        if finding is None or finding.state not in ("unsealed", "missing") or not product.file.exists():
            continue
        try:
            _seal(product, inputs.get(product.file, {}))
            yield f"sealed {product.file}"
        except ValueError as error:
            yield f"not sealed: {error}"
    for folder in sorted(shard_folders(study)):
        for shard in sorted(folder.glob("images-*")):
            if is_unsealed(shard):
                shard.rename(shard.with_name(f"{shard.stem}-{sha256(shard)[:NAME_DIGITS]}{shard.suffix}"))
                yield f"sealed {shard}"


def _inputs(study: Study, path: str) -> dict[str, dict[str, str]]:
    """Return the inputs of each of a cell's chunks by name."""
    cell = study.cell(path)
    folder = f"{study.results}/inputs/{cell.backbone}/{cell.dataset}"
    names = {"conditions": f"{folder}/conditions.safetensors"}
    if cell.task == "classification":
        names["latents"] = f"{folder}/latents.safetensors"
    if cell.structural:
        (names["calibration"],) = study.calibration_files(path)
    return dict.fromkeys(study.chunk_files(cell), names)


def _seal(product: Product, inputs: dict[str, str]) -> None:
    """Seal one result file. Raises ValueError if it carries no spec or another one, or if its inputs are not sealed."""
    spec = json.loads(product.spec())
    compare(product.file, {"spec": _carried_spec(product)}, spec)
    records: dict[str, InputRecord] = {name: record(file, read_provenance(file)) for name, file in inputs.items()}
    write_provenance(product.file, spec, records, **_facts(product.file), sealed_afterwards=True)


def _carried_spec(product: Product) -> dict[str, Any]:
    """Read the spec that a result file carries. A calibration's is in the records that were computed with it."""
    if product.phase != "calibration":
        return embedded_spec(product.file)
    with_it = [file for file in sorted(product.file.parent.glob("chunk-*")) if file.suffix in WITH_SPEC]
    if not with_it:
        raise ValueError(f"{product.file} carries no spec, and nothing was computed with it")
    return embedded_spec(with_it[0])["calibration"]["spec"]


def _facts(file: Path) -> dict[str, Any]:
    """Return what the unsealed provenance of a file says of its computation, if there is one."""
    provenance = provenance_file(file)
    content = read_json(provenance) if provenance.exists() else {}
    return {name: content[name] for name in FACTS if name in content}
