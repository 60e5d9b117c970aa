"""Load a config: fill in the schema's defaults and refuse what cannot work, with one message that names every problem.

Nothing here imports torch or reads weights beyond their checksums, so a dry run stays quick. Downloadable models and
data need not be on disk to plan: `bigain.study.requirements` looks for them before the first job.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema

from bigain.core.messages import unknown
from bigain.core.validation import Validator
from bigain.core.yaml_files import read_yaml
from bigain.methods.ids import GROUPS
from bigain.methods.outside import add_methods
from bigain.study.cells import Config
from bigain.study.consistency import contradictions, unknown_groups
from bigain.study.values import retired_keys, unusable_values

LONGEST_MESSAGE = 300  # characters quoted from the schema's message about one value
SCHEMA = Path(__file__).with_name("config.schema.json")
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "exclusiveMaximum": "below", "maximum": "at most"}


class ConfigError(ValueError):
    """A config that cannot work. The message names the key, its value and what is allowed."""


def load(raw: dict[str, Any]) -> Config:
    """Return a config with defaults filled in, checked against the schema, the methods, the models and the data.

    Raises ConfigError with one line per problem.
    """
    for check in (unusable_values, retired_keys):
        if problems := list(check(raw)):
            raise refusal(problems)
    config = deepcopy(raw)
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    _fill_in(config, schema, schema)
    problems = sorted({_explain(error) for error in Validator(schema).iter_errors(config)})
    if not problems:
        problems = list(_missing_methods(config))
    if not problems:
        for entry in config["cells"]:
            entry["methods"] = [method for name in entry["methods"] for method in GROUPS.get(name, (name,))]
        problems = list(unknown_groups(config))
    if not problems:
        _keep_groups(config)
        problems = list(dict.fromkeys(contradictions(config)))
    if problems:
        raise refusal(problems)
    return config


def _missing_methods(config: Config) -> Iterator[str]:
    """Add the methods from outside that the config names; yield what is wrong with their files."""
    for number, source in enumerate(config.get("methods_from", [])):
        try:
            add_methods(source)
        except (OSError, ValueError) as error:
            yield f"methods_from.{number}: {error}"


def refusal(problems: list[str]) -> ConfigError:
    """Return the error of a config with these problems, one line each."""
    return ConfigError("invalid config:\n" + "\n".join(f"  {problem}" for problem in problems))


def check_files(files: Iterable[Path]) -> None:
    """Raise ConfigError if a config file is not YAML or repeats a key: YAML readers would silently keep the last.

    Snakemake reads the files itself and has reported those that are missing.
    """
    problems = []
    for file in files:
        try:
            read_yaml(file)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise refusal(problems)


def _fill_in(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> None:
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
            _fill_in(item, sub, root)
    elif isinstance(value, list):
        for item in value:
            _fill_in(item, schema.get("items", {}), root)


def _explain(error: jsonschema.ValidationError) -> str:
    """Return a schema error as a line that names the key, the value and what is allowed."""
    where = ".".join(map(str, error.absolute_path)) or "config"
    if error.validator == "additionalProperties":
        allowed = list(error.schema["properties"])
        return f"{where}: " + " ".join(unknown("key", key, allowed) for key in error.instance if key not in allowed)
    if error.validator == "enum":
        return f"{where}: " + unknown("value", str(error.instance), [str(value) for value in error.validator_value])
    if error.validator == "type" and (number := _number_in(error)) is not None:
        return (
            f"{where}: {error.instance!r} is text, and a number is needed: write {number:g}, without quotes (YAML "
            "takes 1e-1 for text, and 1.0e-1 for a number)"
        )
    if error.validator in BOUNDS:
        return f"{where}: {error.instance} is not allowed; must be {BOUNDS[error.validator]} {error.validator_value}"
    return f"{where}: {error.message:.{LONGEST_MESSAGE}}"


def _number_in(error: jsonschema.ValidationError) -> float | None:
    """Return the number that a text spells where the schema allows a number, with a comma or a point; or None."""
    allowed = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
    if not isinstance(error.instance, str) or not {"number", "integer"} & set(allowed):
        return None
    try:
        number = float(error.instance.replace(",", "."))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _keep_groups(config: Config) -> None:
    """Drop the cells of groups that the config does not ask for, in place."""
    if config["groups"] is not None:
        config["cells"] = [entry for entry in config["cells"] if entry["group"] in config["groups"]]
