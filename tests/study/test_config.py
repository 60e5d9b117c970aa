"""Bad input: one readable message that names the key, the value and what is allowed, before any job."""

import copy
import json
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from bigain.cli.main import app
from bigain.core.files import write_json
from bigain.study import config as config_module
from bigain.study.config import ConfigError, check_files, load
from bigain.study.flops_table import gflops
from bigain.study.sources import share_images
from bigain.study.study import Study
from bigain.study.weights import WeightsError, digest


@pytest.fixture(autouse=True)
def _in_the_repository(root, monkeypatch):
    monkeypatch.chdir(root)
    digest.cache_clear()


@pytest.fixture
def raw(root):
    return yaml.safe_load((root / "config/config.yaml").read_text())


def merged(base, changes):
    """Snakemake's merge: mappings deeply, lists replaced."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


@pytest.mark.parametrize("name", ["config", "short", "accuracy", "mini_half", "mini_full", "elimination"])
def test_every_config_of_the_repository_is_possible(raw, root, name):
    changes = yaml.safe_load((root / f"config/{name}.yaml").read_text())
    assert Study(merged(raw, changes)).cells


def one_cell(**changes):
    cell = {"task": "classification", "backbone": "mini_unet", "dataset": "fashion", "methods": ["none"]}
    return {"cells": [cell | changes]}


def test_a_group_stands_for_its_methods(raw):
    raw.update(one_cell(methods=["official"]), strengths={"merge_ratio": [0.5], "downsample_factor": [2]})
    assert {cell.method for cell in Study(raw).cells} >= {
        "none",
        "todo~skip_t0-on",
        "bigain_tm~destinations-official_v1",
    }


def test_two_spellings_of_a_method_are_one_cell(raw):
    raw.update(one_cell(methods=["tome", "tome@sa"]), strengths={"merge_ratio": [0.5]})
    assert [cell.method for cell in Study(raw).cells] == ["tome"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sedds": [0]}, r"config: unknown key 'sedds'\. Did you mean 'seeds'\?"),
        ({"classification": {"stagse": [1, 5]}}, r"classification: unknown key 'stagse'\. Did you mean 'stages'\?"),
        (
            one_cell(methods=["bigain_mt"]),
            r"cells\.0\.methods: unknown method 'bigain_mt'\. Did you mean 'bigain_tm'\?",
        ),
        (
            one_cell(backbone="mini_unt"),
            r"cells\.0\.backbone: unknown backbone 'mini_unt'\. Did you mean 'mini_unet'\?",
        ),
        (one_cell(dataset="fashoin"), r"cells\.0\.dataset: unknown dataset 'fashoin'\. Did you mean 'fashion'\?"),
        (one_cell(task="classify"), r"cells\.0\.task: unknown value 'classify'\. Did you mean 'classification'\?"),
        ({"strengths": {"merge_ratio": [1.7]}}, r"strengths\.merge_ratio\.0: 1\.7 is not allowed; .* below 1"),
        (
            {"strengths": {"merge_ratio": [0.8]}},
            r"strengths\.merge_ratio: 0\.8 is not reachable .* the largest ratio is 0\.75",
        ),
        ({"strengths": {"downsample_factor": [17]}}, r"factor 17 does not fit a 16x16 grid: allowed are 1 to 16"),
        ({"strengths": {"downsample_factor": [6, 7]}}, r"7 and 6 both give 4 keys on mini_unet"),
        ({"classification": {"stages": [3, 5]}}, r"each has to divide the last"),
        ({"classification": {"stages": [600], "keep": [1]}}, r"classification: 600 trials: their grid ends at t = 600"),
        ({"probes": {"timesteps": 400}}, r"probes.timesteps: 400 trials: their grid ends at t = 800 of 1000"),
        ({"datasets": {"fashion": {"images": 5000}}}, r"fashion: 5000 images requested, 2000 available"),
        ({"generation": {"images": 3000}}, r"fashion: 3000 images requested, 2000 available"),
        (
            {"strengths": {"flops_reduction_percent": [0]}},
            r"strengths\.flops_reduction_percent\.0: 0 is not allowed; must be above 0",
        ),
        (
            one_cell(methods=["importance_tm"]),
            r"importance_tm chooses tokens by the guidance of the step before.*allowed is task: generation",
        ),
        (
            one_cell(methods=["mosaicdiff"]) | {"backbones": {"mini_unet": {"calibration": None}}},
            r"backbones\.mini_unet\.calibration is needed by structural methods",
        ),
        (
            one_cell(methods=["mosaicdiff"]) | {"backbones": {"mini_unet": {"calibration": "fashion_calibation"}}},
            r"calibration: unknown dataset 'fashion_calibation'\. Did you mean 'fashion_calibration'\?",
        ),
        (
            one_cell(methods=["mosaicdiff"]) | {"calibration": {"images": 300}},
            r"backbones\.mini_unet\.calibration: fashion: 300 images requested, 200 available",
        ),
        (
            one_cell(methods=["dip_go"]) | {"classification": {"timesteps": "random"}},
            r"classification\.timesteps: dip_go needs 'grid'",
        ),
        (
            one_cell(methods=["tome~cell-16x16~levels-1"]),
            r"0\.3 is not reachable by tome~cell-16x16~levels-1 at level 1 of mini_unet: .*8x8 grid",
        ),
        ({"tables": "config/tabels.yaml"}, r"tables: config/tabels\.yaml is missing"),
        ({"device": "gpu"}, r"device: unknown value 'gpu'\. .*Allowed: cpu, cuda, auto"),
        ({"backbones": {"mini_dit": {"path": "resources/nowhere"}}}, r"resources/nowhere.*is missing"),
        (
            {"feature_network": {"weights": "resources/no.safetensors"}},
            r"feature_network: resources/no\.safetensors is missing",
        ),
    ],
)
def test_what_cannot_work_is_named(raw, changes, message):
    with pytest.raises(ConfigError, match=message):
        load(merged(raw, changes))


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_number_that_is_not_finite_is_called_that(raw, value):
    with pytest.raises(ConfigError) as caught:
        load(merged(raw, {"backbones": {"mini_unet": {"guidance": value}}}))
    line = f"  backbones.mini_unet.guidance: {value} is not allowed; a finite number is needed"
    assert str(caught.value).splitlines() == ["invalid config:", line]


def calibrated_on(raw, dataset, **datasets):
    """Return what is wrong with calibrating the U-Net on a data set and testing it on `fashion` and its scenes."""
    changes = {"backbones": {"mini_unet": {"calibration": dataset}}, "datasets": datasets}
    config = merged(raw, changes | {"calibration": {"images": 20}})
    config["cells"] = [one_cell(dataset=name, methods=["dip_go"])["cells"][0] for name in ("fashion", "fashion_scenes")]
    try:
        load(config)
    except ConfigError as error:
        return [line.split(";")[0].strip() for line in str(error).splitlines()[1:]]
    return []


def test_a_calibration_set_is_no_test_set(raw, root, tmp_path):
    shutil.copy(root / "resources/fashion/items.parquet", tmp_path)
    copy = {"reader": "fashion", "path": str(tmp_path)}
    where = "backbones.mini_unet.calibration"
    for name in ("fashion", "copy", "again"):
        datasets = {"copy": copy, "again": {"reader": "fashion", "path": "resources/../resources/fashion"}}
        assert calibrated_on(raw, name, **datasets) == [
            f"{where}: {name} is not allowed, because it shares images with {tested}, on which mini_unet is tested"
            for tested in ("fashion", "fashion_scenes")
        ]
    assert calibrated_on(raw, "fashion_calibration") == []


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("pets", "pets_all", True),
        ("pets_all", "pets_trainval", True),
        ("pets", "pets_trainval", False),
        ("imagenet1k", "imagenet100", True),
        ("imagenet1k", "pets", False),
        ("coco2017", "coco2017", True),
    ],
)
def test_readers_share_the_images_of_a_split(first, second, shared):
    settings = [{"reader": reader, "path": "data/none"} for reader in (first, second)]
    assert share_images(*settings) == share_images(*settings[::-1]) == shared
    assert not share_images(settings[0], settings[1] | {"path": "data/other"})


def test_a_repeated_key_of_a_config_file_is_named(root, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("generation:\n  steps: 5\n  images: 40\n  steps: 50\n")
    with pytest.raises(ConfigError) as caught:
        check_files([root / "config/config.yaml", file])
    message = f"{file}: the key generation.steps is on line 2 and again on line 4; keep one"
    assert str(caught.value) == f"invalid config:\n  {message}"
    completed = CliRunner().invoke(app, ["plan", "--configfile", str(file)])
    assert (completed.exit_code, completed.stderr) == (2, f"error: {message}\n")


def test_config_files_of_the_repository_have_no_repeated_key(root):
    files = sorted((root / "config").glob("*.yaml"))
    assert len(files) > 5
    check_files(files)  # raises


ELIMINATION = {"z": 2}
AGREEMENT = {"images": 250, "disagreements": 1, "predictions": 101.5}
CERTIFICATE = {
    "z": 2.0,
    "every": 5,
    "trials": 20,
    "rate": 0.02,
    "confidence": 0.95,
    "cells": [
        {
            "backbone": "mini_unet",
            "dataset": "fashion",
            "method": "bigain_tm",
            "strength": 0.7,
            "seed": 0,
            "run": "0" * 16,
        }
        | AGREEMENT
        | {"full_predictions": 200, "others": AGREEMENT}
    ],
}


@pytest.mark.parametrize(
    ("settings", "methods", "message"),
    [
        ({"elimination": {"z": 0}}, ["none"], "elimination.z: 0 is not allowed; must be above 0"),
        ({"elimination": {"every": 5}}, ["none"], "elimination: 'z' is a required property"),
        (
            {"elimination": {"test": "cantelli", "level": 0.4}},
            ["none"],
            "write z: 1.22 instead of cantelli at level 0.4",
        ),
        (
            {"elimination": {"test": "empirical_bernstein", "level": 0.4}},
            ["none"],
            "gone; write z, a number of standard",
        ),
        ({"elimination": {"level": "high", "z": 2}}, ["none"], "the keys test and level are gone; write z"),
        ({"elimination": ELIMINATION, "timesteps": "random"}, ["none"], "cannot be combined with timesteps: random"),
        ({"elimination": ELIMINATION}, ["none", "dip_go"], "dip_go is calibrated for the timesteps"),
        ({"batch": 8, "smaller_batch": 8}, ["none"], "smaller_batch: 8 is not smaller than batch, which is 8"),
        ({"batch": "auto", "smaller_batch": 8}, ["none"], "smaller_batch: 8 has no use with batch: auto"),
        ({"batch": "all"}, ["none"], "classification.batch: 'all'"),
    ],
)
def test_an_elimination_or_a_smaller_batch_that_cannot_work_is_named(raw, settings, methods, message):
    raw["strengths"] = {"flops_reduction_percent": [10]}
    raw["classification"] = raw["classification"] | settings
    raw.update(one_cell(methods=methods))
    with pytest.raises(ConfigError, match=message):
        load(raw)


def test_elimination_costs_at_most_every_class_at_every_trial(raw):
    raw["classification"] = {"stages": [20], "keep": [1], "elimination": ELIMINATION}
    raw.update(one_cell())
    study = Study(raw)
    assert study.predictions(study.cells[0]) == 200
    assert '"elimination":{"every":5,"z":2.0}' in study.job_spec(study.cells[0].path, 0)


def test_the_message_about_a_retired_key_is_a_single_line(raw):
    raw["classification"] = {"elimination": {"test": "cantelli", "level": 0.2}}
    with pytest.raises(ConfigError) as caught:
        load(raw)
    where = "classification.elimination: the keys test and level are gone"
    assert str(caught.value).splitlines()[1:] == [f"  {where}; write z: 2 instead of cantelli at level 0.2"]


def test_a_certificate_enters_the_report_and_no_job(raw, tmp_path):
    file = tmp_path / "certificate.json"
    write_json(file, CERTIFICATE)
    raw["classification"] = {"stages": [20], "keep": [1], "elimination": ELIMINATION}
    raw.update(one_cell())
    without = Study(raw)
    assert "certificate" not in json.loads(without.report_spec())
    raw["classification"]["elimination"] = ELIMINATION | {"certificate": str(file)}
    study = Study(raw)
    assert json.loads(study.report_spec())["certificate"] == CERTIFICATE
    assert study.job_spec(study.cells[0].path, 0) == without.job_spec(study.cells[0].path, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z": 1.5}, "is for z: 1.5, and the config has z: 2"),
        ({"every": 4}, "is for every: 4, and the config has every: 5"),
        ({"trials": 40}, "is for 40 trials, and fashion has 20"),
        ({"cells": []}, "elimination.certificate: .*certificate.json: cells: "),
        ({"rate": 2}, "certificate.json: rate: 2 is greater"),
    ],
)
def test_a_certificate_of_another_schedule_is_refused(raw, tmp_path, change, message):
    write_json(tmp_path / "certificate.json", CERTIFICATE | change)
    elimination = ELIMINATION | {"certificate": str(tmp_path / "certificate.json")}
    raw["classification"] = {"stages": [20], "keep": [1], "elimination": elimination}
    raw.update(one_cell())
    with pytest.raises(ConfigError, match=message):
        load(raw)


def test_a_missing_certificate_is_named(raw):
    raw["classification"] = {"elimination": ELIMINATION | {"certificate": "no.json"}}
    with pytest.raises(ConfigError, match=r"certificate: no\.json is missing; `bigain elimination --calibrate` writes"):
        load(raw)


def test_several_mistakes_are_told_at_once(raw):
    with pytest.raises(ConfigError) as caught:
        load(merged(raw, {"sedds": [0], "device": "gpu"}))
    assert "sedds" in str(caught.value)
    assert "gpu" in str(caught.value)


def test_a_damaged_weight_file_is_named(tmp_path, root):
    folder = tmp_path / "resources"
    shutil.copytree(root / "resources", folder)
    weights = folder / "mini-unet/unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"mini-unet/unet/diffusion_pytorch_model\.safetensors: sha256 is .*damaged"):
        digest(str(folder / "mini-unet"))
    weights.unlink()
    digest.cache_clear()
    with pytest.raises(
        WeightsError, match=r"diffusion_pytorch_model\.safetensors is missing, and .*SHA256SUMS lists it"
    ):
        digest(str(folder / "mini-unet"))
    assert digest(str(folder / "mini-dit"))


def test_a_changed_setting_changes_exactly_its_cells(raw):
    before = Study(raw)
    changed = merged(raw, {"backbones": {"mini_dit": {"blocks": [1, 2]}}})
    after = Study(changed)
    different = [cell for cell in before.cells if before.job_spec(cell.path, 0) != after.job_spec(cell.path, 0)]
    assert {cell.backbone for cell in different} == {"mini_dit"}
    assert "none" not in {cell.method for cell in different}


def test_a_structural_cell_knows_how_it_is_calibrated(raw):
    def calibrations(**changes):
        study = Study(merged(raw, one_cell(methods=["none", "dip_go", "mosaicdiff"]) | changes))
        plain, dip_go, mosaicdiff = study.cells
        assert study.calibration_files(plain.path) == []
        assert study.efficiency_inputs("mini_unet") == [
            f"results/mini/cells/{cell.path}/calibration.safetensors" for cell in (dip_go, mosaicdiff)
        ]
        for cell in (dip_go, mosaicdiff):
            calibration = study.calibration_spec(cell.path)
            assert calibration in study.job_spec(cell.path, 0)
        return study.calibration_spec(dip_go.path), study.calibration_spec(mosaicdiff.path)

    before = calibrations()
    other_stages = calibrations(classification={"stages": [5, 20], "keep": [5, 1]})
    assert other_stages[0] != before[0]
    assert other_stages[1] == before[1]
    assert calibrations(calibration={"images": 100})[1] != before[1]


def test_the_cost_of_a_cell_is_its_operations(raw):
    assert gflops("sd2", "none", None) == pytest.approx(804.257)
    assert gflops("sd2", "bigain_tm", 0.7) == pytest.approx(704.99, abs=0.01)
    assert gflops("sd2", "todo", 2) < gflops("sd2", "none", None)
    assert gflops("sd2", "bigain_tm~score-l2_norm", 0.7) == gflops("sd2", "bigain_tm", 0.7)  # its preset's
    assert gflops("sd2", "dip_go", 10.0) == pytest.approx(0.9 * 804.257)
    assert gflops("mine", "tome", 0.7) == 1.0
    study = Study(merged(raw, one_cell(methods=["none"])))
    images, predictions = study.config["datasets"]["fashion"]["images"], 22
    assert list(study.cost.values()) == [images * predictions * gflops("mini_unet", "none", None)]


def test_swapping_two_values_changes_the_spec(raw):
    a = merged(raw, {"generation": {"steps": 16, "block": 20}})
    b = merged(raw, {"generation": {"steps": 20, "block": 16}})
    cell = next(cell for cell in Study(a).cells if cell.task == "generation")
    assert Study(a).job_spec(cell.path, 0) != Study(b).job_spec(cell.path, 0)


def test_chunks_are_whole_blocks_and_cover_everything(raw):
    hundred = {"datasets": {"fashion": {"images": 100}}, "shards": {"blocks": 2, "per_job": 1}}
    study = Study(merged(raw, hundred))
    cell = study.cells[0]
    chunks = study.chunks(cell)
    assert chunks[0] == (0, 40)
    assert [a for a, _ in chunks[1:]] == [b for _, b in chunks[:-1]]
    assert chunks[-1][1] == 100


def test_planning_imports_no_torch(root):
    import subprocess
    import sys

    code = (
        "import sys, yaml\n"
        "from bigain.study.study import Study\n"
        "import bigain.reporting.contents, bigain.cli.main\n"
        "Study(yaml.safe_load(open('config/config.yaml')))\n"
        "wrong = {'torch', 'diffusers', 'transformers', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported: {wrong}' if wrong else 0)"
    )
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert completed.returncode == 0, completed.stderr


def test_the_schema_s_defaults_are_filled_in(raw):
    del raw["classification"]
    settings = load(raw)["classification"]
    assert settings["stages"] == [5, 20]
    assert settings["loss"] == "l2"
    assert config_module.SCHEMA.is_file()
