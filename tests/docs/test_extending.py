"""The example of docs/extending.md, from its page to a model and to the specs of a study."""

import json

import pytest
import torch
import yaml

import bigain
from bigain.cli.options import parsed
from bigain.cli.study import merged_config
from bigain.methods import outside
from bigain.study.config import ConfigError
from bigain.study.study import Study
from bigain.tokens import TokenGrid
from bigain.tokens.outside import operator_of
from tests.helpers.extending import example
from tests.helpers.models import run_unet
from tests.helpers.repository import ROOT
from tests.helpers.tokens import random_tokens

CELLS = [{"task": "classification", "backbone": "mini_unet", "dataset": "fashion", "methods": ["none", "tome"]}]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the example, in which a study is planned."""
    for name in ("config", "resources"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "quincunx.py").write_text(example())
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    outside.forget()


def study(folder, methods_from, methods, ratio=0.5) -> Study:
    entry = CELLS[0] | {"methods": methods}
    config = {"study": "mine", "strengths": {"merge_ratio": [ratio]}, "cells": [entry]}
    config["datasets"] = {"fashion": {"images": 4}}
    if methods_from:
        config["methods_from"] = methods_from
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    return Study(merged_config([folder / "mine.yaml"]))


def specs(planned: Study) -> dict:
    return {cell.method: json.loads(planned.job_spec(cell.path, 0)) for cell in planned.cells}


def test_it_is_a_page_long_and_does_what_it_says(folder, unet):
    assert len(example().strip().splitlines()) <= 31
    bigain.add_methods("quincunx.py")
    grid = TokenGrid(4, 4)
    plan = operator_of("outside:quincunx")(random_tokens(grid), grid, 0.5, (2, 2))
    assert plan.destinations[0].tolist() == [0, 7, 10, 13]
    plain = run_unet(unet)
    with bigain.compressed(unet, "quincunx~cell-4x4", ratio=0.9) as attachment:
        assert not torch.equal(run_unet(unet), plain)
        assert {site.kept for site in attachment.sites} == {256 - 230}
    with pytest.raises(ValueError, match=r"the largest ratio is 0\.75"):
        bigain.apply(unet, "quincunx", ratio=0.9)


def test_a_cell_has_the_fingerprint_of_the_file_and_other_cells_stay(folder):
    without = specs(study(folder, [], ["none", "tome"]))
    planned = study(folder, ["quincunx.py"], ["none", "tome", "quincunx"])
    ours = specs(planned)
    assert {name: ours[name] for name in without} == without
    part = {"outside:quincunx": outside.registered()["quincunx"].fingerprint}
    assert ours["quincunx"]["methods_from"] == ["quincunx.py"]
    assert part.items() <= ours["quincunx"]["code"].items()
    report, efficiency = json.loads(planned.report_spec()), json.loads(planned.efficiency_spec("mini_unet"))
    assert report["methods_from"] == efficiency["methods_from"] == ["quincunx.py"]
    (folder / "quincunx.py").write_text(example() + "# a comment\n")
    assert specs(study(folder, ["quincunx.py"], ["quincunx"]))["quincunx"] == ours["quincunx"]
    (folder / "quincunx.py").write_text(example().replace("last =", "last = 0 *"))
    assert specs(study(folder, ["quincunx.py"], ["quincunx"]))["quincunx"] != ours["quincunx"]


def test_a_job_adds_the_method_and_notices_that_its_file_was_changed(folder):
    text = json.dumps(specs(study(folder, ["quincunx.py"], ["quincunx"]))["quincunx"])
    outside.forget()
    assert parsed(text)["method"] == "quincunx"
    assert "quincunx" in outside.registered()
    (folder / "quincunx.py").write_text(example().replace("last =", "last = 0 *"))
    with pytest.raises(ValueError, match=r"quincunx\.py has changed since this job was planned"):
        parsed(text)


def test_a_config_names_what_is_wrong_with_a_file(folder):
    with pytest.raises(ConfigError, match=r"methods_from\.0: other\.py: there is no such file of methods"):
        study(folder, ["other.py"], ["none"])
    with pytest.raises(ConfigError, match="unknown method 'quincunx'"):
        study(folder, [], ["quincunx"])
    with pytest.raises(ConfigError, match=r"strengths\.merge_ratio: 0\.9 is not reachable by quincunx "):
        study(folder, ["quincunx.py"], ["quincunx"], 0.9)
