"""The package's metadata and its pages say what the code does."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
from packaging.requirements import Requirement

from bigain.cli.init import FILES


@pytest.fixture(scope="module")
def project(root) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


def keys(schema: dict[str, Any]) -> Iterator[str]:
    """Every key that a config may have."""
    for name, value in schema.get("properties", {}).items():
        yield name
        yield from keys(value)
    for inner in (schema.get("additionalProperties"), schema.get("items")):
        if isinstance(inner, dict):
            yield from keys(inner)


def test_every_key_of_a_config_is_explained(root):
    schema = json.loads((root / "bigain/study/config.schema.json").read_text())
    page = (root / "config/README.md").read_text()
    expected = {*keys(schema), *keys(schema["$defs"]["strengths"])}
    assert not [key for key in sorted(expected) if f"`{key}`" not in page]


def test_every_value_that_a_key_may_have_is_named(root):
    text = (root / "bigain/study/config.schema.json").read_text()
    page = (root / "config/README.md").read_text()
    choices = [value for values in re.findall(r'"enum": (\[[^]]*\])', text) for value in json.loads(values)]
    plain = {"bicubic", "bilinear", "lanczos", "box"}  # filters, as Pillow has them
    assert not [value for value in choices if value not in (None, *plain) and f"`{value}`" not in page]


def test_init_writes_what_the_wheel_holds(root):
    assignments = [node for node in ast.parse((root / "setup.py").read_text()).body if isinstance(node, ast.Assign)]
    (names,) = [ast.literal_eval(node.value) for node in assignments if node.targets[0].id == "PROJECT"]
    assert names == FILES


def test_diffusers_is_of_a_version_that_the_tests_ran_with(project):
    (line,) = [line for line in project["dependencies"] if line.startswith("diffusers")]
    installed = version("diffusers")
    assert Requirement(line).specifier.contains(installed), (
        f"diffusers {installed} is not in the tested range {line!r}: run tests/compression, tests/backbones and "
        "tests/sampling with it, then widen the range in pyproject.toml and the list in envs/README.md"
    )


def test_extras_do_not_repeat_each_other(project):
    listed = [Requirement(line).name for line in project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        listed += [Requirement(line).name for line in extra if not line.startswith("bigain[")]
    assert len(listed) == len(set(listed))
