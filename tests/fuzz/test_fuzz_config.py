"""Randomly changed configs: planned, or refused with a message that names the key."""

import json
import os

import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from bigain.reporting.claims import read_claims
from bigain.reporting.contents import read_tables
from bigain.study.config import ConfigError, load
from bigain.study.study import Study
from bigain.study.weights import digest
from tests.helpers.mutations import MARKS, broken_bytes, broken_tree, cases, is_json, odd_values, refusal
from tests.helpers.repository import ROOT

pytestmark = MARKS

METHODS = ["none", "tome", "bigain_td", "mosaicdiff"]
STRENGTHS = {"merge_ratio": [0.5], "downsample_factor": [2], "flops_reduction_percent": [10]}
NETWORK = {"name": "inception", "weights": "models/inception.pth"}


def _embedded():
    """The embedded study with one cell a task."""
    raw = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    raw["datasets"] = {key: value | {"images": 20} for key, value in raw["datasets"].items()}
    raw["generation"] |= {"images": 40}
    raw["cells"] = [
        {"task": "classification", "backbone": "mini_unet", "dataset": "fashion", "methods": METHODS},
        {"task": "classification", "backbone": "mini_dit", "dataset": "fashion", "methods": ["tome_fixed"]},
        {"task": "classification", "backbone": "mini_unet", "dataset": "fashion_scenes", "methods": ["none"]},
        {"task": "generation", "backbone": "mini_unet", "dataset": "fashion", "methods": ["todo"]},
    ]
    return raw


def _official():
    """A study of published models and data that are not on this machine."""
    sd2 = {"family": "unet", "path": "models/none", "hub": "someone/sd2", "architecture": "sd2"}
    settings = {"candidates": [3, 1], "images": 50, "subset": "first_two_of_each_class"}
    return {
        "study": "paper",
        "backbones": {"sd2": sd2 | {"revision": "abc", "levels": [0, 1], "calibration": "pets_train"}},
        "datasets": {
            "pets": {"reader": "pets", "path": "data/none", "stages": [2, 4], "keep": [2, 1], "generate": 2048},
            "pets_train": {"reader": "pets_trainval", "path": "data/none"},
            "imagenet": {"reader": "imagenet1k", "path": "data/none", "prompts": "released", **settings},
            "coco": {"reader": "coco2017", "path": "data/none", "allow_missing": 3, "reference": "coco2017"},
        },
        "feature_network": NETWORK | {"sha256": "any"},
        "generation": {"images": 2048, "real": {"crop": "squash", "size": 512}},
        "strengths": STRENGTHS,
        "cells": [
            {"task": "classification", "backbone": "sd2", "dataset": name, "methods": METHODS, "group": "main"}
            for name in ("pets", "imagenet", "coco")
        ]
        + [{"task": "generation", "backbone": "sd2", "dataset": "pets", "methods": ["none"], "group": "main"}],
        "groups": ["main"],
    }


@pytest.fixture(scope="module", autouse=True)
def small(tmp_path_factory):
    """The embedded data sets with a few images, so that a case takes milliseconds."""
    before = os.getcwd()  # noqa: PTH109
    folder = tmp_path_factory.mktemp("study")
    for name in ("resources/fashion", "resources/fashion-calibration"):
        (folder / name).mkdir(parents=True)
        for file in (ROOT / name).iterdir():
            count = 200 if "items" in file.name else 40
            table = pq.read_table(file)
            if "items" in table.column_names:  # of scenes: which items they show, of those that are left
                table = table.set_column(1, "items", [[[k % 200 for k in row] for row in table["items"].to_pylist()]])
            pq.write_table(table.slice(0, count), folder / name / file.name)
    for name in ("mini-unet", "mini-dit", "fashion-net"):
        (folder / "resources" / name).symlink_to(ROOT / "resources" / name)
    (folder / "config").symlink_to(ROOT / "config")
    os.chdir(folder)
    digest.cache_clear()  # which remembers by relative paths
    yield
    os.chdir(before)
    digest.cache_clear()


def names_the_place(message, raw, path):
    """Return whether a message names the changed key, a key above it, or the file that is its value."""
    heading, *lines = message.splitlines()
    assert heading == "invalid config:"
    problems, names = " ".join(lines), list(path)
    for key in path:
        raw = raw[key] if isinstance(raw, dict) and key in raw else None
    if isinstance(raw, str):
        names.append(raw)
    return any(repr(name) in problems or (isinstance(name, str) and name[:20] in problems) for name in names)


def planned(raw):
    study = Study(raw)
    assert study.cost
    for cell in study.cells[:3]:
        study.job_spec(cell.path, 0)
    return study


NAMES = [
    *METHODS,
    "official",
    "tome@sa+mlp",
    "tome~cell-0x9",
    "bigain_tm~levels--1",
    "tome~levels-99",
    "bigain_td~alpha-x",
]
NAMES += [
    "tome~cell-4 x4",
    "flux",
    "dit",
    "unet",
    "fashion",
    "pets_all",
    "pets_train",
    "mini_dit",
    "generation",
    "inception",
]
NAMES += ["config", ".", "..", "resources/fashion/items.parquet", "released", "random", "float16", "classification"]
PLAUSIBLE = st.one_of(
    st.integers(0, 2000),
    st.floats(0, 1),
    st.sampled_from(NAMES),
    st.lists(st.integers(0, 20), max_size=4),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3),
    st.lists(st.floats(0, 1), max_size=3),
)
BASES = {"embedded": _embedded(), "official": _official()}


@pytest.mark.parametrize("name", BASES)
def test_the_unchanged_config_is_planned(name):
    assert planned(BASES[name]).cells


@pytest.mark.parametrize("name", BASES)
@given(data=st.data())
@cases(450)
def test_a_changed_config_is_planned_or_refused_by_its_key(name, data):
    raw, path = data.draw(broken_tree(BASES[name], odd_values | PLAUSIBLE))
    message = refusal(lambda: planned(raw), ConfigError)
    assert message is None or (names_the_place(message, raw, path) and len(message) < 5000), message


@given(raw=odd_values | st.recursive(odd_values, lambda inner: st.dictionaries(st.text(max_size=9), inner)))
@example([])
@cases(100)
def test_values_that_are_not_a_config_are_refused(raw):
    assert refusal(lambda: load(raw), ConfigError)


FILES = {
    "tables": (ROOT / "bigain/reporting/tables.yaml", read_tables),
    "claims": (ROOT / "bigain/reporting/claims.yaml", read_claims),
}


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@cases(150)
def test_a_changed_file_of_tables_or_claims_is_read_or_named(name, tmp_path_factory, data):
    original, read = FILES[name]
    file = tmp_path_factory.mktemp("files") / f"{name}.yaml"
    whole = original.read_bytes()
    changed, _ = data.draw(broken_tree(yaml.safe_load(whole), odd_values | PLAUSIBLE))
    content = json.dumps(changed).encode() if is_json(changed) else data.draw(broken_bytes(whole))
    file.write_bytes(content)
    message = refusal(lambda: read(file), ValueError)
    assert message is None or (str(file) in message and len(message.splitlines()) == 1 and len(message) < 5000), message


WRONG = [10**400, 1 << 63, float("nan"), float("inf"), -1, 20.0, True, "20", [20], {"images": 20}, "\ud800", {1: 1}]


@pytest.mark.parametrize("key", ["generation.images", "classification.block", "probes.draws", "efficiency.batch"])
@given(value=st.sampled_from(WRONG) | st.floats() | st.integers(max_value=0) | st.text())
@cases(50)
def test_a_count_is_a_positive_whole_number(key, value):
    raw = _embedded()
    section, name = key.split(".")
    raw.setdefault(section, {})[name] = value
    message = refusal(lambda: load(raw), ConfigError)
    assert message is not None
    assert f"{key}:" in message or (isinstance(value, dict) and key in message)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"strengths": {}}, "cells.0: tome needs strengths.merge_ratio"),
        ({"study": "mini\n"}, "study: 'mini\\n' has a control character"),
        ({"study": "m" * 200}, "study: "),
        ({"seeds": [10**5000]}, "seeds.0: a number is not allowed"),
        ({"strengths": STRENGTHS | {"merge_ratio": ["1e-1"]}}, "'1e-1' is text, and a number is needed: write 0.1"),
        ({"seeds": ["010"]}, "seeds.0: '010' is text, and a number is needed: write 10, without quotes"),
        ({"seeds": ["one"]}, "seeds.0: 'one' is not of type 'integer'"),
        ({"datasets": {1: {}}}, "datasets: the key 1 must be text"),
        ({"classification": {"stages": [1, 10**9], "keep": [2, 1]}}, "at most 1000 trials"),
        ({"strengths": STRENGTHS | {"merge_ratio": [0.5, 0.5000001]}}, "0.5000001 and 0.5 are both ratio-0.5"),
        (
            {"seeds": list(range(90_000)), "strengths": STRENGTHS | {"downsample_factor": [*range(1, 9)]}},
            "cells are not",
        ),
        ({"feature_network": {"name": "inception", "weights": "."}}, "feature_network: . is missing or not a file"),
        ({"generation": {"steps": [1] * 200_000}}, "more than 100000 values"),
    ],
)
def test_absurd_settings_are_named(changes, names):
    with pytest.raises(ConfigError) as caught:
        load(_embedded() | changes)
    assert names in str(caught.value)
