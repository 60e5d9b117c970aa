"""Carry a study's finished work elsewhere: what its jobs read, and every shard that they have finished, in one bundle.

A job finds its shards by the content of their inputs. So the bundle also holds the latents, conditions, references,
batches and calibrations, whose last digits might differ on another machine. It holds a cell's output only where the
cell's shards are gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from bigain.core.bundles import write_bundle
from bigain.core.files import NAME_DIGITS, sha256
from bigain.core.provenance import ResultError, digest
from bigain.core.specs import CellJobSpec
from bigain.study.products import Product, examine, products
from bigain.study.status import images_in_shards
from bigain.study.study import Study
from bigain.study.verification import is_unsealed, shard_folders

SHARED = ("inputs", "calibration")  # phases whose results the jobs of cells read
ATTEMPTS = 5  # to pack a study while its jobs join shards


class Carried(NamedTuple):
    """Size of a bundle: files, bytes, and how many of the study's images are finished in it."""

    files: int
    bytes: int
    finished: int
    images: int


def export(study: Study, output: Path) -> Carried:
    """Pack a study's finished inputs, calibrations and shards into a bundle. The study may be running.

    Raises ResultError naming a file that is damaged, foreign or unsealed, and ValueError if nothing is finished.
    """
    for _ in range(ATTEMPTS - 1):
        with suppress(FileNotFoundError):  # a job has just joined shards
            return _packed(study, output)
    return _packed(study, output)


def _packed(study: Study, output: Path) -> Carried:
    """Pack what is finished at this moment. Raises FileNotFoundError if a job joins shards meanwhile."""
    checksums, finished = dict(_files(study)), _finished_images(study)
    if not checksums:
        raise ValueError(f"{study.results} holds no finished work of {study.name}: there is nothing to export")
    manifest = write_bundle(output, study.name, digest(study.config), checksums)
    size = sum(file["size"] for file in manifest["files"].values())
    return Carried(len(manifest["files"]), size, finished, sum(map(study.images, study.cells)))


def _files(study: Study) -> Iterator[tuple[Path, str]]:
    """Yield every file of the bundle with its sha256. Raises ResultError naming one that cannot be used."""
    for product in products(study):
        if product.phase in SHARED or _is_output_without_shards(product):
            finding = examine(product, contents=True)
            if finding is None:
                yield from ((file, sha256(file)) for file in product.files)
            elif finding.state not in ("missing", "outdated"):
                raise ResultError(finding.file, finding.state, finding.message.removeprefix(f"{finding.file} "))
    for folder in sorted(shard_folders(study)):
        for shard in sorted(folder.glob("images-*")):
            checksum = sha256(shard)
            if is_unsealed(shard):
                raise ResultError(shard, "unsealed", "has no checksum in its name; `bigain seal` adds one")
            if not shard.stem.endswith(checksum[:NAME_DIGITS]):
                message = "is damaged: its content does not match the digest in its name. Delete it"
                raise ResultError(shard, "damaged", message)
            yield shard, checksum


def _is_output_without_shards(product: Product) -> bool:
    """Return whether a file is the output of a cell's job that has lost some of its shards."""
    if not product.file.name.startswith("chunk-") or not product.file.exists():
        return False
    return _missing_in_shards(json.loads(product.spec()), product) > 0


def _missing_in_shards(spec: CellJobSpec, product: Product) -> int:
    """Return how many images of a job are not in shards."""
    first, last = spec["images"]
    return last - first - images_in_shards(spec, product.file.suffix)


def _finished_images(study: Study) -> int:
    """Return how many images of all cells are finished."""
    finished = 0
    for product in products(study):
        if product.file.name.startswith("chunk-"):
            spec = json.loads(product.spec())
            first, last = spec["images"]
            is_done = _is_output_without_shards(product) and examine(product) is None
            finished += last - first - (0 if is_done else _missing_in_shards(spec, product))
    return finished
