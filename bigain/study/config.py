"""Read a config: the schema's defaults filled in, and everything that cannot work refused with one readable message.

Nothing here imports torch or opens weights beyond their checksums, so a dry run stays quick. Published models and data
need not be there to plan: `requirements` looks for them before the first job.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema

from bigain.datasets import SOURCES, Source, subset
from bigain.datasets import load as load_dataset
from bigain.methods import unknown
from bigain.schedule import Stages
from bigain.study.cells import expand
from bigain.study.weights import WeightsError, digest, token_grid
from bigain.study.weights import check as check_weights
from bigain.variants import GROUPS, method_of

FEWEST_IMAGES = {"inception": 2048, "fashion-net": 40}  # the Inception's features; two images a block of the jackknife
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
        problems = list(_wrong_groups(config)) or list(_contradictions(config))
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


def _wrong_groups(config: dict[str, Any]) -> Iterator[str]:
    """Keep the cells of the groups that are asked for; say which group does not exist."""
    exist = sorted({group["group"] for group in config["cells"]})
    wanted = config["groups"] or exist
    yield from (f"groups: {unknown('group', name, exist)}" for name in wanted if name not in exist)
    config["cells"] = [group for group in config["cells"] if group["group"] in wanted]


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
    yield from _impossible_stages(config)
    yield from _missing_files(config)


def _impossible_places(config: dict[str, Any]) -> Iterator[str]:
    for number, group in enumerate(config["cells"]):
        family = config["backbones"][group["backbone"]]["family"]
        for method in map(method_of, group["methods"]):
            if family == "flux":
                if method.id != "none":
                    yield f"cells.{number}.methods: {method.id}: {group['backbone']} is a flux and takes no method yet"
                continue
            wrong = {"unet": ("blocks", method.blocks), "dit": ("levels", method.levels)}[family]
            if wrong[1] is not None:
                yield f"cells.{number}.methods: {method.id}: {group['backbone']} is a {family} and has no {wrong[0]}"
        reader = config["datasets"][group["dataset"]]["reader"]
        if family == "dit" and not SOURCES[reader].of_models:
            fitting = [name for name, source in SOURCES.items() if source.of_models]
            yield (
                f"cells.{number}: {group['backbone']} is conditioned on its own classes, and {group['dataset']} has "
                f"others; readers that fit: {', '.join(fitting)}"
            )


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
        if method.strength_kind in ("none", "flops_reduction_percent"):
            continue
        try:
            grid = token_grid(config["backbones"][cell.backbone])
        except WeightsError:  # said where weights are looked for
            continue
        height, width = (size >> max(method.levels or (0,)) for size in grid)
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
            most = max(config["calibration"]["images"], config["calibration"]["prompts"])
            yield from _check_dataset(where, config["datasets"][dataset], most)
    trajectories = [cell for cell in expand(config) if cell.structural and method_of(cell.method).noise == "shared"]
    if config["classification"]["timesteps"] == "random" and any(c.task == "classification" for c in trajectories):
        yield f"classification.timesteps: {trajectories[0].method} needs 'grid', because its gates belong to timesteps"


def _impossible_stages(config: dict[str, Any]) -> Iterator[str]:
    places = {"classification": config["classification"]}
    for name in sorted({group["dataset"] for group in config["cells"]}):
        own = {key: config["datasets"][name][key] for key in ("stages", "keep")}
        if any(own.values()):
            places[f"datasets.{name}"] = {key: own[key] or config["classification"][key] for key in own}
    for where, settings in places.items():
        try:
            Stages(tuple(settings["stages"]), tuple(settings["keep"]))
        except ValueError as error:
            yield f"{where}: {error}"


def _missing_files(config: dict[str, Any]) -> Iterator[str]:
    """What belongs to the repository or to the user: published models and data are looked for before the first job."""
    for key in ("tables", "claims"):
        if not Path(config[key]).is_file():
            yield f"{key}: {config[key]} is missing"
    for name in sorted({group["backbone"] for group in config["cells"]}):
        backbone = config["backbones"][name]
        if backbone["hub"] is None:
            yield from _prefixed(f"backbones.{name}", lambda name=name, b=backbone: check_weights(name, b))
    for name in sorted({group["dataset"] for group in config["cells"]}):
        tasks = {group["task"] for group in config["cells"] if group["dataset"] == name}
        yield from _check_dataset(f"datasets.{name}", config["datasets"][name], _generated(config, name, tasks))
    if any(group["task"] == "generation" for group in config["cells"]):
        yield from _missing_network(config)


def _generated(config: dict[str, Any], name: str, tasks: set[str]) -> int:
    return (config["datasets"][name]["generate"] or config["generation"]["images"]) if "generation" in tasks else 0


def _missing_network(config: dict[str, Any]) -> Iterator[str]:
    if "feature_network" not in config:
        yield "feature_network: generation cells need it, and the config has none"
        return
    network = config["feature_network"]
    if network["name"] != "inception":
        yield from _prefixed("feature_network", lambda: digest(network["weights"]))
    fewest = FEWEST_IMAGES[network["name"]]
    for name in sorted({group["dataset"] for group in config["cells"] if group["task"] == "generation"}):
        count = _generated(config, name, {"generation"})
        if count < fewest and not config["generation"]["allow_few"]:
            where = "generation.images" if config["datasets"][name]["generate"] is None else f"datasets.{name}.generate"
            yield (
                f"{where}: {count} is not allowed; {network['name']}'s distances need at least {fewest} images "
                "(generation.allow_few generates fewer and leaves the distances out)"
            )


def _check_dataset(where: str, settings: dict[str, Any], generated: int) -> Iterator[str]:
    source = SOURCES[settings["reader"]]
    reference = settings["reference"]
    if reference is not None and reference not in SOURCES:
        yield f"{where}.reference: {unknown('reader', reference, SOURCES)}"
    if settings["prompts"] not in source.forms:
        yield f"{where}.prompts: {settings['reader']} has no {settings['prompts']!r} prompts"
    if not source.official:
        yield from _prefixed(where, lambda: _embedded(settings, generated))
        return
    if settings["candidates"] and settings["images"] is None:
        yield f"{where}.candidates: say with `images` how many images of these classes there are"
    yield from _prefixed(where, lambda: _official(settings, source, generated))


def _embedded(settings: dict[str, Any], generated: int) -> None:
    digest(settings["path"])
    load_dataset({**settings, "subset": None}).first(generated)
    load_dataset(settings).first(settings["images"] or 0)


def _official(settings: dict[str, Any], source: Source, generated: int) -> None:
    """What can be said of a published data set before it is there."""
    if source.images is None:
        raise ValueError(f"reader: {settings['reader']} is for `reference` only")
    positions = subset(settings["subset"]) if settings["subset"] else range(source.images)
    if max(positions) >= source.images:
        raise ValueError(f"subset: position {max(positions)} is beyond the {source.images} images")
    if (settings["images"] or 0) > len(positions):
        raise ValueError(f"images: {settings['images']} asked for, {len(positions)} there")
    if generated > source.images:
        raise ValueError(f"generate: {generated} asked for, and there are prompts of {source.images} images")
    if settings["candidates"] and max(settings["candidates"]) >= source.classes:
        raise ValueError(f"candidates: {max(settings['candidates'])} is beyond the {source.classes} classes")


def _prefixed(where: str, check: Any) -> Iterator[str]:
    try:
        check()
    except (OSError, ValueError) as error:
        yield f"{where}: {error}"
