"""config/today.yaml: SD3.5-medium and FLUX.1-dev are planned without weights, at counted operations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bigain.cli.main import app
from bigain.cli.study import PUBLISHED, merged_config
from bigain.core.files import read_json
from bigain.study.cost import StudyCost
from bigain.study.flops_table import gflops
from bigain.study.requirements import Needs, problems
from bigain.study.sites import Sites, site_faults
from bigain.study.study import Study
from bigain.study.weights import ARCHITECTURES

TODAY = Path("config/today.yaml")
MODELS = {"sd35_medium": "SD3.5-medium", "flux1_dev": "FLUX.1-dev"}


@pytest.fixture(autouse=True)
def _in_the_repository(root, monkeypatch):
    monkeypatch.chdir(root)


@pytest.fixture
def raw(tmp_path):
    """The config, whose models and data are not there."""
    raw = merged_config([TODAY])
    for name in MODELS:
        raw["backbones"][name]["path"] = str(tmp_path / name)
    for name in ("pets", "coco2017"):
        raw["datasets"][name]["path"] = str(tmp_path / name)
    raw["feature_network"]["weights"] = str(tmp_path / "inception.pth")
    return raw


def test_both_models_run_tables_2_and_4_on_both_data_sets_in_both_tasks(raw):
    study = Study(raw)
    compressed = {"avg_pool": 3, "todo": 3, "bigain_td": 3, "tome": 7, "bigain_tm": 7}
    for backbone in MODELS:
        for task in ("classification", "generation"):
            for dataset in ("pets", "coco2017"):
                group = [c for c in study.cells if (c.backbone, c.task, c.dataset) == (backbone, task, dataset)]
                methods = [cell.method for cell in group]
                assert {method: methods.count(method) for method in methods} == {"none": 1, **compressed}
    assert len(study.cells) == 2 * 2 * 2 * 24
    plan = StudyCost(study)
    assert plan.groups == list(MODELS)
    classified = {37 * 10 + 10 * 10, 80 * 10 + 10 * 10}
    assert set(plan.evaluations().values()) == classified | {2 * 28, 28}
    generated = {c.backbone: study.predictions(c) for c in study.cells if c.task == "generation"}
    assert generated == {"sd35_medium": 2 * 28, "flux1_dev": 28}  # the guidance is an input of the distilled model


def test_every_strength_is_reachable_in_the_blocks_of_both_models(raw):
    config = Study(raw).config
    depth = {"sd35_medium": 24, "flux1_dev": 19 + 38}
    for name, blocks in depth.items():
        denoiser = Sites(name, config["backbones"][name]).denoiser
        assert denoiser is not None
        assert denoiser.grid == (64, 64)
        assert denoiser.chosen(None, None) == tuple(range(1, blocks - 1))
    assert list(site_faults(config)) == []
    config["strengths"]["downsample_factor"] = [2, 65]
    assert any("65 is not reachable by bigain_td on flux1_dev" in fault for fault in site_faults(config))


def test_every_compressed_cell_has_its_own_operations_counted(raw):
    study = Study(raw)
    plain = {name: gflops(name, "none", None) for name in MODELS}
    for cell in study.cells:
        assert 0.5 < study.gflops(cell) / plain[cell.backbone] <= 1
        assert (study.gflops(cell) == plain[cell.backbone]) == (cell.method == "none"), cell.path


@pytest.mark.parametrize(("backbone", "name"), MODELS.items())
def test_planned_operations_are_the_documented_ones(backbone, name):
    lines = Path("docs/performance.md").read_text(encoding="utf-8").splitlines()
    header = next(line for line in lines if line.startswith("| | `none` | scores of attention"))
    arms = [("none", None), *((method, float(s)) for method, s in re.findall(r"`([^`]+)` ([\d.]+)", header))]
    cells = next(line for line in lines if line.startswith(f"| {name}, 1,024 px")).strip("|").split("|")
    documented = [cells[1], *cells[3:]]
    counted = [(arm, cell) for arm, cell in zip(arms, documented, strict=True) if "@" not in arm[0]]
    assert len(counted) == 4
    for (method, strength), cell in counted:
        assert f"{gflops(backbone, method, strength) / 1e3:.3f}" == cell.split()[0], method


def test_what_is_missing_is_named_with_what_to_do(raw, monkeypatch):
    monkeypatch.setattr("bigain.core.gpu_locks.visible_gpus", list)
    study = Study(raw)
    printed = problems(study, StudyCost(study), Needs.of_study(study))
    for name in MODELS:
        (weights,) = [line for line in printed if line.startswith(f"backbones.{name}:")]
        assert f"`bigain fetch {name}` downloads {raw['backbones'][name]['hub']}" in weights
    for name in ("datasets.pets", "datasets.coco2017", "feature_network", "device: cuda"):
        assert any(line.startswith(name) for line in printed), name


def test_check_fails_while_anything_is_missing():
    result = CliRunner().invoke(app, ["check", "--configfile", str(TODAY)])
    assert result.exit_code == 1
    assert "`bigain fetch flux1_dev` downloads black-forest-labs/FLUX.1-dev" in result.output


def test_fetch_knows_the_models_of_both_studies():
    backbones = merged_config(PUBLISHED)["backbones"]
    assert {"sd2", "dit_xl2", *MODELS} <= set(backbones)
    assert backbones["flux1_dev"]["path"] == backbones["flux"]["path"]


def test_prompts_and_latents_of_flow_models_count_at_their_own_size(raw):
    raw["cells"] = [{"task": "classification", "backbone": "flux1_dev", "dataset": "pets", "methods": ["none"]}]
    study = Study(raw)
    shared = StudyCost(study).disk_gb(study.cells) - StudyCost(study).disk_gb([])
    flux = read_json(ARCHITECTURES / "flux1_dev.json")
    latents = 500 * (flux["in_channels"] // 4) * 128 * 128 * 4
    prompts = 37 * (1 + 512) * flux["joint_attention_dim"] * 2
    assert shared == pytest.approx(
        (latents + prompts) / 1e9 + sum(StudyCost(study).cost(c).gigabytes for c in study.cells)
    )
