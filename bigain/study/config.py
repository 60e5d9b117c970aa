"""Read a config: the schema's defaults filled in, and everything that cannot work refused with one readable message.

Nothing here imports torch or opens weights beyond their checksums, so a dry run stays quick.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from bigain.datasets import load as load_dataset
from bigain.files import read_json, sha256
from bigain.methods import unknown
from bigain.schedule import Stages
from bigain.study.cells import expand
from bigain.variants import GROUPS, method_of

SCHEMA = Path(__file__).parents[2] / "workflow" / "schemas" / "config.schema.json"


class ConfigError(ValueError):
    """A config that cannot work. The message names the key, its value and what is allowed."""


def load(raw: dict[str, Any]) -> dict[str, Any]:
    """The config with defaults filled in, checked against the schema, the methods, the models and the data.

    Raises ConfigError that lists everything found wrong, a line each.
    """
    config = deepcopy(raw)
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    _complete(config, schema, schema)
    problems = sorted({_explain(error) for error in jsonschema.Draft202012Validator(schema).iter_errors(config)})
    if not problems:
        for group in config["cells"]:
            group["methods"] = [one for name in group["methods"] for one in GROUPS.get(name, (name,))]
        problems = list(_contradictions(config))
    if problems:
        raise ConfigError("the config cannot work:\n" + "\n".join(f"  {problem}" for problem in problems))
    return config


def _complete(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> None:
    """Fill in the schema's defaults, in place."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    if isinstance(value, dict):
        for key, sub in schema.get("properties", {}).items():
            if "default" in sub:
                value.setdefault(key, deepcopy(sub["default"]))
        for key, item in value.items():
            extra = schema.get("additionalProperties")
            sub = schema.get("properties", {}).get(key, extra if isinstance(extra, dict) else {})
            _complete(item, sub, root)
    elif isinstance(value, list):
        for item in value:
            _complete(item, schema.get("items", {}), root)


BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "exclusiveMaximum": "below", "maximum": "at most"}


def _explain(error: jsonschema.ValidationError) -> str:
    where = ".".join(map(str, error.absolute_path)) or "config"
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        wrong = [key for key in error.instance if key not in known]
        return f"{where}: " + " ".join(unknown("key", key, known) for key in wrong)
    if error.validator == "enum":
        allowed = [str(value) for value in error.validator_value]
        return f"{where}: " + unknown("value", str(error.instance), allowed)
    if error.validator in BOUNDS:
        word = BOUNDS[error.validator]
        return f"{where}: {error.instance} is not allowed; it has to be {word} {error.validator_value}"
    return f"{where}: {error.message}"


def _contradictions(config: dict[str, Any]) -> Iterator[str]:
    """What the schema cannot see."""
    known = {"backbone": config["backbones"], "dataset": config["datasets"]}
    wrong_names = False
    for number, group in enumerate(config["cells"]):
        for kind, names in known.items():
            if group[kind] not in names:
                wrong_names = True
                yield f"cells.{number}.{kind}: {unknown(kind, group[kind], names)}"
        for method in group["methods"]:
            try:
                method_of(method)
            except ValueError as error:
                wrong_names = True
                yield f"cells.{number}.methods: {error}"
    if wrong_names:
        return
    yield from _impossible_places(config)
    yield from _missing_strengths(config)
    yield from _unreachable_strengths(config)
    yield from _missing_calibrations(config)
    try:
        Stages(tuple(config["classification"]["stages"]), tuple(config["classification"]["keep"]))
    except ValueError as error:
        yield f"classification: {error}"
    yield from _missing_files(config)


def _impossible_places(config: dict[str, Any]) -> Iterator[str]:
    for number, group in enumerate(config["cells"]):
        family = config["backbones"][group["backbone"]]["family"]
        for method in map(method_of, group["methods"]):
            wrong = {"unet": ("blocks", method.blocks), "dit": ("levels", method.levels)}[family]
            if wrong[1] is not None:
                yield f"cells.{number}.methods: {method.id}: {group['backbone']} is a {family} and has no {wrong[0]}"


def _missing_strengths(config: dict[str, Any]) -> Iterator[str]:
    for number, group in enumerate(config["cells"]):
        strengths = {**config["strengths"], **group["strengths"]}
        for method in group["methods"]:
            kind = method_of(method).strength_kind
            if kind != "none" and not strengths.get(kind):
                yield f"cells.{number}: {method} needs strengths.{kind}, and the config has none"


def _unreachable_strengths(config: dict[str, Any]) -> Iterator[str]:
    if any(True for _ in _missing_strengths(config)):
        return
    reduced: dict[tuple, int] = {}
    for cell in dict.fromkeys(expand(config)):
        method = method_of(cell.method)
        height, width = (size >> max(method.levels or (0,)) for size in token_grid(config["backbones"][cell.backbone]))
        where = f"strengths.{method.strength_kind}: {cell.strength}"
        try:
            _, keys = method.tokens_left(cell.strength, height, width)
        except ValueError as error:
            yield f"{where} is not reachable by {cell.method} on {cell.backbone}: {error}"
            continue
        if method.strength_kind == "downsample_factor":
            key = (cell.task, cell.backbone, cell.dataset, cell.method, cell.seed, keys)
            other = reduced.setdefault(key, cell.strength)
            if other != cell.strength:
                yield f"{where} and {other} both give {keys} keys on {cell.backbone}: keep one of them"


def _missing_calibrations(config: dict[str, Any]) -> Iterator[str]:
    for name in sorted({cell.backbone for cell in expand(config) if cell.structural}):
        where, dataset = f"backbones.{name}.calibration", config["backbones"][name]["calibration"]
        if dataset is None:
            yield f"{where} is needed by structural methods: the name of a data set of a training split"
        elif dataset not in config["datasets"]:
            yield f"{where}: {unknown('dataset', dataset, config['datasets'])}"
        else:
            settings = config["datasets"][dataset]
            most = max(config["calibration"]["images"], config["calibration"]["prompts"])
            yield from _prefixed(where, lambda s=settings, n=most: _check_dataset(s, n))
    trajectories = [cell for cell in expand(config) if cell.structural and method_of(cell.method).noise == "shared"]
    if config["classification"]["timesteps"] == "random" and any(c.task == "classification" for c in trajectories):
        yield f"classification.timesteps: {trajectories[0].method} needs 'grid', because its gates belong to timesteps"


def _missing_files(config: dict[str, Any]) -> Iterator[str]:
    if not Path(config["tables"]).is_file():
        yield f"tables: {config['tables']} is missing"
    checked = {(name, config["backbones"][name]["path"]) for name in {g["backbone"] for g in config["cells"]}}
    for name, path in sorted(checked):
        yield from _prefixed(f"backbones.{name}", lambda path=path: digest(path))
    for name in sorted({group["dataset"] for group in config["cells"]}):
        settings = config["datasets"][name]
        most = max(
            config["generation"]["images"] if group["task"] == "generation" else 0
            for group in config["cells"]
            if group["dataset"] == name
        )
        yield from _prefixed(f"datasets.{name}", lambda s=settings, n=most: _check_dataset(s, n))
    if any(group["task"] == "generation" for group in config["cells"]):
        if "feature_network" not in config:
            yield "feature_network: generation cells need it, and the config has none"
        else:
            weights = config["feature_network"]["weights"]
            yield from _prefixed("feature_network", lambda: digest(weights))


def _check_dataset(settings: dict[str, Any], generated: int) -> None:
    digest(settings["path"])
    everything = load_dataset(settings["reader"], settings["path"])
    everything.first(max(settings["images"] or 0, generated))


def _prefixed(where: str, check: Any) -> Iterator[str]:
    try:
        check()
    except (OSError, ValueError) as error:
        yield f"{where}: {error}"


def token_grid(backbone: dict[str, Any]) -> tuple[int, int]:
    """Height and width of a backbone's token grid at its highest resolution, from its config file.

    Raises ConfigError naming the file if it is missing or says nothing usable.
    """
    unet = backbone["family"] == "unet"
    path = Path(backbone["path"]) / ("unet" if unet else "transformer") / "config.json"
    if not path.is_file():
        raise ConfigError(f"{path} is missing: {backbone['path']} is no diffusers pipeline of a {backbone['family']}")
    settings = read_json(path)
    size, patch = settings["sample_size"], 1 if unet else settings["patch_size"]
    height, width = (size, size) if isinstance(size, int) else size
    return height // patch, width // patch


@cache
def digest(path: str) -> str:
    """One sha256 over a file, or over all files of a folder with their names.

    Files under a folder with a `SHA256SUMS` are compared with it. Raises ConfigError naming the file that is missing
    or differs.
    """
    place = Path(path)
    if not place.exists():
        raise ConfigError(f"{path} is missing")
    sums_file = next((p / "SHA256SUMS" for p in (place, *place.parents) if (p / "SHA256SUMS").is_file()), None)
    expected = _read_sums(sums_file) if sums_file else {}
    files = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
    for listed in expected:
        inside = listed == place or place in listed.parents
        if inside and not listed.is_file():
            raise ConfigError(f"{listed} is missing, and {sums_file} lists it")
    found = {file: sha256(file) for file in files if file.name != "SHA256SUMS"}
    for file, value in found.items():
        if expected.get(file, value) != value:
            raise ConfigError(f"{file}: sha256 is {value}, but {sums_file} says {expected[file]} (damaged or changed)")
    text = "\n".join(f"{value}  {file.relative_to(place.parent)}" for file, value in found.items())
    return hashlib.sha256(text.encode()).hexdigest()


def _read_sums(path: Path) -> dict[Path, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return {path.parent / name: value for value, name in (line.split("  ", 1) for line in lines if line)}
