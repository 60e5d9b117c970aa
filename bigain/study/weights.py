"""Weights on disk: what identifies them, and whether they are the model that the config names. No torch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from bigain.core.files import naming, read_json, sha256, write_json
from bigain.core.places import located
from bigain.core.predictions import prediction_fault
from bigain.datasets.manifest import MANIFEST, read_manifest
from bigain.datasets.photos import leaves

ARCHITECTURES = Path(__file__).parents[1] / "measure" / "architectures"
DENOISER_FOLDERS = {
    "unet": "unet",
    "dit": "transformer",
    "mmdit": "transformer",
    "flux": "transformer",
}  # in a pipeline
FLOWS = ("mmdit", "flux")  # families that predict a velocity
CHECKSUMS = Path("results/checksums.json")  # sha256 of large files, so that planning reads them once
LARGE = 1 << 24  # bytes
ABSENT = "absent"  # identity of what is not on disk yet; only a dry run sees it
# Keys of a denoiser's config that tell the paper's architectures from their relatives.
ARCHITECTURE_KEYS = (
    *("_class_name", "sample_size", "in_channels", "block_out_channels", "cross_attention_dim", "attention_head_dim"),
    *("num_layers", "num_attention_heads", "patch_size"),
)
SUM_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


class WeightsError(ValueError):
    """Weights that are missing, damaged or of another model. The message names the file and the fault."""


def identity(backbone: dict[str, Any]) -> str:
    """Return one sha256 that identifies a backbone's weights; ABSENT if they can still be downloaded.

    Raises WeightsError as `check` does.
    """
    path = located(backbone["path"])
    if backbone["hub"] and not (path / "model_index.json").is_file():
        return ABSENT
    if (path / MANIFEST).is_file():
        _check_manifest(backbone)
        return sha256(path / MANIFEST)
    return digest(backbone["path"])


def check(name: str, backbone: dict[str, Any]) -> None:
    """Raise WeightsError if weights are missing or damaged, of another revision, or of another model."""
    path = located(backbone["path"])
    if not (path / "model_index.json").is_file():
        remedy = f"`bigain fetch {name}` downloads {backbone['hub']}" if backbone["hub"] else "put a pipeline there"
        raise WeightsError(f"{path / 'model_index.json'} is missing: {remedy}, or set `path` to a folder that has it")
    identity(backbone)
    for problem in (*_wrong_prediction_type(backbone), *_wrong_architecture(backbone)):
        raise WeightsError(problem)


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds a mapping. Raises WeightsError naming the file if it is missing or something else."""
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise WeightsError(str(error)) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} must hold a mapping, not {type(content).__name__}")
    return content


def config_file(backbone: dict[str, Any]) -> Path:
    """Return the path of the config file of a backbone's denoiser."""
    return located(backbone["path"]) / DENOISER_FOLDERS[backbone["family"]] / "config.json"


def _wrong_prediction_type(backbone: dict[str, Any]) -> Iterator[str]:
    """Refuse diffusion models that predict neither epsilon nor v; a flow model's velocity is handled by its family."""
    path = located(backbone["path"]) / "scheduler" / "scheduler_config.json"
    if not path.is_file():
        yield f"{path} is missing: the pipeline is incomplete"
        return
    scheduler = read_mapping(path)
    if backbone["family"] not in FLOWS and (fault := prediction_fault(scheduler)):
        yield f"{path}: {fault}"
    elif backbone["architecture"] == "sd2" and scheduler.get("prediction_type", "epsilon") != "epsilon":
        yield (
            f"{path}: prediction_type is {scheduler['prediction_type']!r}: stable-diffusion-2 and 2-1 (768 px) predict "
            "v, and the paper's model, stable-diffusion-2-base (512 px), epsilon. `architecture: null` takes any model"
        )


def _wrong_architecture(backbone: dict[str, Any]) -> Iterator[str]:
    path = config_file(backbone)
    if not path.is_file():
        yield f"{path} is missing: {backbone['path']} is not a diffusers pipeline of a {backbone['family']}"
        return
    if backbone["architecture"] is None:
        return
    actual, expected = read_mapping(path), read_json(ARCHITECTURES / f"{backbone['architecture']}.json")
    for key in ARCHITECTURE_KEYS:
        if key in expected and actual.get(key) != expected[key]:
            hint = ""
            if key == "sample_size" and backbone["architecture"] == "sd2":
                hint = ". 96 is the 768 px model; the paper's is stable-diffusion-2-base (512 px)"
            yield (
                f"{path}: {key} is {actual.get(key)!r}, and {backbone['architecture']} has {expected[key]!r}: this is "
                f"another model{hint}"
            )
            return


def _check_manifest(backbone: dict[str, Any]) -> None:
    path = located(backbone["path"])
    try:
        manifest = read_manifest(path)
    except (OSError, ValueError) as error:
        raise WeightsError(str(error)) from error
    for key in ("hub", "revision"):
        if backbone[key] is not None and manifest[key] != backbone[key]:
            raise WeightsError(
                f"{path} was fetched from {manifest['hub']} at revision {manifest['revision']}, and the config says "
                f"{key} {backbone[key]}: fetch it to another `path`, or correct the config"
            )
    for name, entry in manifest["files"].items():
        file = path / name
        size = file.stat().st_size if file.is_file() else None
        if size != entry["size"]:
            state = "is missing" if size is None else f"has {size} bytes"
            raise WeightsError(f"{file} {state}; {entry['size']} bytes were fetched. `bigain fetch` repairs it")


@cache
def digest(path: str) -> str:
    """Return one sha256 over a file, or over all files of a folder with their names.

    Compares files under a folder with a `SHA256SUMS` with it. Raises WeightsError naming the file that is missing or
    differs.
    """
    root = located(path)
    if not root.exists():
        raise WeightsError(f"{path} is missing")
    sums_file = next((p / "SHA256SUMS" for p in (root, *root.parents) if (p / "SHA256SUMS").is_file()), None)
    expected = _read_sums(sums_file) if sums_file else {}
    files = sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root]
    for listed in expected:
        inside = listed == root or root in listed.parents
        if inside and not listed.is_file():
            raise WeightsError(f"{listed} is missing, and {sums_file} lists it")
    sums = {file: sha256_of(file) for file in files if file.name != "SHA256SUMS"}
    for file, value in sums.items():
        if expected.get(file, value) != value:
            raise WeightsError(f"{file}: sha256 is {value}, but {sums_file} says {expected[file]} (damaged or changed)")
    text = "\n".join(f"{value}  {file.relative_to(root.parent)}" for file, value in sums.items())
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file; remember a large file's while its size and time of change stay the same."""
    state = path.stat()
    if state.st_size < LARGE:
        return sha256(path)
    key = f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"
    checksums = read_mapping(CHECKSUMS) if CHECKSUMS.is_file() else {}
    if key not in checksums:
        checksums[key] = sha256(path)
        write_json(CHECKSUMS, checksums)
    return checksums[key]


def _read_sums(path: Path) -> dict[Path, str]:
    """Read a SHA256SUMS: checksums by file. Raises WeightsError naming a line that is something else."""
    try:
        with naming(path):
            lines = path.read_text(encoding="utf-8").splitlines()
    except ValueError as error:
        raise WeightsError(str(error)) from error
    sums = {}
    for number, line in enumerate(lines, start=1):
        entry = SUM_LINE.fullmatch(line)
        if line and (entry is None or leaves(entry[2])):
            raise WeightsError(f"{path}, line {number}: {line!r:.100} is not `sha256  file` of a file beside it")
        if entry:
            sums[path.parent / entry[2]] = entry[1]
    return sums
