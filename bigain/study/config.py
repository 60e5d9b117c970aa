"""Read a config: the schema's defaults filled in, and everything that cannot work refused with one readable message.

Nothing here imports torch or opens weights beyond their checksums, so a dry run stays quick. Published models and data
need not be there to plan: `requirements` looks for them before the first job.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema

from bigain.classifier.timesteps import Stages
from bigain.core.messages import unknown
from bigain.core.validation import Validator
from bigain.datasets import SOURCES
from bigain.methods.ids import GROUPS, method_of
from bigain.study.cells import Cell, expand
from bigain.study.sources import check_dataset, missing_files
from bigain.study.values import unusable
from bigain.study.weights import WeightsError, token_grid

MOST_TIMESTEPS, MOST_CELLS = 1000, 1_000_000
METHOD_ID = re.compile(r"[A-Za-z0-9_.@~+-]+")  # which names a folder
LONGEST_MESSAGE = 300  # of what the schema says of one value
SCHEMA = Path(__file__).with_name("config.schema.json")


class ConfigError(ValueError):
    """A config that cannot work. The message names the key, its value and what is allowed."""


def load(raw: dict[str, Any]) -> dict[str, Any]:
    """The config with defaults filled in, checked against the schema, the methods, the models and the data.

    Raises ConfigError that lists everything found wrong, a line each.
    """
    if problems := list(unusable(raw)):
        raise _refusal(problems)
    config = deepcopy(raw)
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    _complete(config, schema, schema)
    problems = sorted({_explain(error) for error in Validator(schema).iter_errors(config)})
    if not problems:
        for group in config["cells"]:
            group["methods"] = [one for name in group["methods"] for one in GROUPS.get(name, (name,))]
        problems = list(_wrong_groups(config)) or list(dict.fromkeys(_contradictions(config)))
    if problems:
        raise _refusal(problems)
    return config


def _refusal(problems: list[str]) -> ConfigError:
    return ConfigError("the config cannot work:\n" + "\n".join(f"  {problem}" for problem in problems))


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
    return f"{where}: {error.message:.{LONGEST_MESSAGE}}"


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
                if not METHOD_ID.fullmatch(method_of(method).id):
                    raise ValueError(f"{method!r} holds characters that a method's name cannot have")
            except ValueError as error:
                wrong_names = True
                yield f"cells.{number}.methods: {error}"
    if wrong_names:
        return
    yield from _impossible_places(config)
    if unknown_strengths := [*_missing_strengths(config), *_too_many_cells(config)]:
        yield from unknown_strengths
        return
    yield from _ambiguous_strengths(config)
    yield from _unreachable_strengths(config)
    yield from _missing_calibrations(config)
    yield from _impossible_stages(config)
    yield from _impossible_elimination(config)
    yield from missing_files(config)


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


def _too_many_cells(config: dict[str, Any]) -> Iterator[str]:
    strengths = [{**config["strengths"], **group["strengths"]} for group in config["cells"]]
    kinds = [[method_of(method).strength_kind for method in group["methods"]] for group in config["cells"]]
    of_a_seed = sum(len(own.get(kind, [None])) for own, names in zip(strengths, kinds, strict=True) for kind in names)
    if (count := of_a_seed * len(config["seeds"])) > MOST_CELLS:
        yield f"seeds, strengths and cells: {count} cells are not allowed; at most {MOST_CELLS} are"


def _ambiguous_strengths(config: dict[str, Any]) -> Iterator[str]:
    """Strengths that are the same to the digits that a cell's folder shows."""
    found: dict[str, Cell] = {}
    for cell in dict.fromkeys(expand(config)):
        if (other := found.setdefault(cell.path, cell)) != cell:
            kind = method_of(cell.method).strength_kind
            yield f"strengths.{kind}: {cell.strength} and {other.strength} are both {cell.strength_name}: keep one"
            return


def _unreachable_strengths(config: dict[str, Any]) -> Iterator[str]:
    reduced: dict[tuple, int] = {}
    for cell in dict.fromkeys(expand(config)):
        method = method_of(cell.method)
        if method.strength_kind in ("none", "flops_reduction_percent"):
            continue
        try:
            grid = token_grid(config["backbones"][cell.backbone])
        except WeightsError:  # said where weights are looked for
            continue
        levels = method.levels or (0,)
        where = f"strengths.{method.strength_kind}: {cell.strength}"
        if min(levels) < 0 or min(grid) >> max(levels) == 0:
            yield f"cells.methods: {cell.method}: {cell.backbone} has no levels {list(levels)}"
            continue
        height, width = (size >> max(levels) for size in grid)
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
            yield from check_dataset(f"datasets.{dataset}, of {where}", config["datasets"][dataset], most)
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
            if max(settings["stages"]) > MOST_TIMESTEPS:
                raise ValueError(f"stages {settings['stages']}: at most {MOST_TIMESTEPS} trials are possible")
            Stages(tuple(settings["stages"]), tuple(settings["keep"]))
        except ValueError as error:
            yield f"{where}: {error}"


def _impossible_elimination(config: dict[str, Any]) -> Iterator[str]:
    settings = config["classification"]
    smaller = settings["smaller_batch"]
    if smaller is not None and smaller >= settings["batch"]:
        yield f"classification.smaller_batch: {smaller} is not smaller than batch, which is {settings['batch']}"
    if settings["elimination"] is None:
        return
    if settings["timesteps"] == "random":
        yield "classification.elimination: it has its own order of the grid's timesteps; timesteps: random is none"
    for i, group in enumerate(config["cells"]):
        changing = [method for method in group["methods"] if method_of(method).acts_on == "model"]
        if group["task"] == "classification" and changing:
            yield (
                f"cells.{i}.methods: {changing[0]} is calibrated for the timesteps of classification.stages; it cannot "
                "be classified with classification.elimination"
            )
