"""Weights: what identifies them, and whether they are the model that a config says they are. No torch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from bigain.core.files import read_json, sha256, write_json
from bigain.core.validation import naming
from bigain.datasets.manifest import MANIFEST, read_manifest
from bigain.datasets.photos import leaves

ARCHITECTURES = Path(__file__).parents[1] / "measure" / "architectures"
FOLDERS = {"unet": "unet", "dit": "transformer", "flux": "transformer"}  # of a pipeline's denoiser
SUMS = Path("results/checksums.json")  # of large files, so that planning reads them once
LARGE = 1 << 24
ABSENT = "absent"  # the identity of what is not there yet: only a dry run sees it
# What tells one architecture from its relatives.
TELLING = ("sample_size", "in_channels", "block_out_channels", "cross_attention_dim", "attention_head_dim")
TELLING += ("num_layers", "num_attention_heads", "patch_size")
SUM_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


class WeightsError(ValueError):
    """Weights that are missing, damaged or of another model. The message names the file and what is wrong."""


def identity(backbone: dict[str, Any]) -> str:
    """One sha256 that identifies a backbone's weights; ABSENT if they can still be fetched.

    Raises WeightsError as `check` does.
    """
    path = Path(backbone["path"])
    if backbone["hub"] and not (path / "model_index.json").is_file():
        return ABSENT
    if (path / MANIFEST).is_file():
        _check_manifest(backbone)
        return sha256(path / MANIFEST)
    return digest(backbone["path"])


def check(name: str, backbone: dict[str, Any]) -> None:
    """Raises WeightsError if weights are missing or damaged, of another revision, or of another model."""
    path = Path(backbone["path"])
    if not (path / "model_index.json").is_file():
        fetch = f"`bigain fetch {name}` downloads {backbone['hub']}" if backbone["hub"] else "put a pipeline there"
        raise WeightsError(f"{path / 'model_index.json'} is missing: {fetch}, or set `path` to a folder that has it")
    identity(backbone)
    for problem in (*_other_predictions(backbone), *_other_architecture(backbone)):
        raise WeightsError(problem)


def token_grid(backbone: dict[str, Any]) -> tuple[int, int]:
    """Height and width of a backbone's token grid at its highest resolution, from its config file, or from its
    architecture's while the weights are absent.

    Raises WeightsError naming the file if it is missing or says nothing usable.
    """
    path = _config_file(backbone)
    if not path.is_file() and backbone["architecture"] and identity(backbone) == ABSENT:
        path = ARCHITECTURES / f"{backbone['architecture']}.json"
    if not path.is_file():
        raise WeightsError(f"{path} is missing: {backbone['path']} is no diffusers pipeline of a {backbone['family']}")
    settings = read_mapping(path)
    if "sample_size" not in settings:
        raise WeightsError(f"{path} says no sample_size, so there is no token grid")
    size, patch = settings["sample_size"], settings.get("patch_size") or 1
    sides = size if isinstance(size, list) else [size, size]
    if len(sides) != 2 or not all(type(number) is int and number > 0 for number in (*sides, patch)):
        raise WeightsError(f"{path}: sample_size {size!r} and patch_size {patch!r} give no token grid")
    return sides[0] // patch, sides[1] // patch


def read_mapping(path: Path) -> dict[str, Any]:
    """A JSON file that holds a mapping. Raises WeightsError naming the file if it is missing or something else."""
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise WeightsError(str(error)) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} has to hold a mapping, not {type(content).__name__}")
    return content


def _config_file(backbone: dict[str, Any]) -> Path:
    return Path(backbone["path"]) / FOLDERS[backbone["family"]] / "config.json"


def _other_predictions(backbone: dict[str, Any]) -> Iterator[str]:
    """A diffusion model has to predict epsilon; a flow model's velocity is known to its own family."""
    path = Path(backbone["path"]) / "scheduler" / "scheduler_config.json"
    if not path.is_file():
        yield f"{path} is missing: the folder is no whole pipeline"
        return
    kind = read_mapping(path).get("prediction_type", "epsilon")
    if backbone["family"] != "flux" and kind != "epsilon":
        yield (
            f"{path}: prediction_type is {kind!r}, and the diffusion classifier needs 'epsilon'. stable-diffusion-2 "
            "and 2-1 (768 px) predict v; the paper's model is stable-diffusion-2-base (512 px)"
        )


def _other_architecture(backbone: dict[str, Any]) -> Iterator[str]:
    path = _config_file(backbone)
    if not path.is_file():
        yield f"{path} is missing: {backbone['path']} is no diffusers pipeline of a {backbone['family']}"
        return
    if backbone["architecture"] is None:
        return
    found, wanted = read_mapping(path), read_json(ARCHITECTURES / f"{backbone['architecture']}.json")
    for key in ("_class_name", *TELLING):
        if key in wanted and found.get(key) != wanted[key]:
            hint = ""
            if key == "sample_size" and backbone["architecture"] == "sd2":
                hint = ". 96 is the 768 px model; the paper's is stable-diffusion-2-base (512 px)"
            yield (
                f"{path}: {key} is {found.get(key)!r}, and {backbone['architecture']} has {wanted[key]!r}: this is "
                f"another model{hint}"
            )
            return


def _check_manifest(backbone: dict[str, Any]) -> None:
    path = Path(backbone["path"])
    try:
        manifest = read_manifest(path)
    except (OSError, ValueError) as error:
        raise WeightsError(str(error)) from error
    for key in ("hub", "revision"):
        if backbone[key] is not None and manifest[key] != backbone[key]:
            raise WeightsError(
                f"{path} was fetched from {manifest['hub']} at revision {manifest['revision']}, and the config says "
                f"{key} {backbone[key]}: fetch it again to another `path`, or correct the config"
            )
    for name, known in manifest["files"].items():
        file = path / name
        size = file.stat().st_size if file.is_file() else None
        if size != known["size"]:
            found = "is missing" if size is None else f"has {size} bytes"
            raise WeightsError(f"{file} {found}; {known['size']} bytes were fetched. `bigain fetch` mends it")


@cache
def digest(path: str) -> str:
    """One sha256 over a file, or over all files of a folder with their names.

    Files under a folder with a `SHA256SUMS` are compared with it. Raises WeightsError naming the file that is missing
    or differs.
    """
    place = Path(path)
    if not place.exists():
        raise WeightsError(f"{path} is missing")
    sums_file = next((p / "SHA256SUMS" for p in (place, *place.parents) if (p / "SHA256SUMS").is_file()), None)
    expected = _read_sums(sums_file) if sums_file else {}
    files = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
    for listed in expected:
        inside = listed == place or place in listed.parents
        if inside and not listed.is_file():
            raise WeightsError(f"{listed} is missing, and {sums_file} lists it")
    found = {file: sha256_of(file) for file in files if file.name != "SHA256SUMS"}
    for file, value in found.items():
        if expected.get(file, value) != value:
            raise WeightsError(f"{file}: sha256 is {value}, but {sums_file} says {expected[file]} (damaged or changed)")
    text = "\n".join(f"{value}  {file.relative_to(place.parent)}" for file, value in found.items())
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """The sha256 of a file; of a large one remembered for as long as its size and time of change stay the same."""
    state = path.stat()
    if state.st_size < LARGE:
        return sha256(path)
    key = f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"
    known = read_mapping(SUMS) if SUMS.is_file() else {}
    if key not in known:
        known[key] = sha256(path)
        write_json(SUMS, known)
    return known[key]


def _read_sums(path: Path) -> dict[Path, str]:
    try:
        with naming(path):
            lines = path.read_text(encoding="utf-8").splitlines()
    except ValueError as error:
        raise WeightsError(str(error)) from error
    sums = {}
    for number, line in enumerate(lines, start=1):
        found = SUM_LINE.fullmatch(line)
        if line and (found is None or leaves(found[2])):
            raise WeightsError(f"{path}, line {number}: {line!r:.100} is not `sha256  file` of a file beside it")
        if found:
            sums[path.parent / found[2]] = found[1]
    return sums
