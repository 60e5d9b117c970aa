"""Cells that classify or generate different numbers of images, and what stays when other cells change theirs."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from bigain.cli.main import app
from bigain.cli.study import merged_config
from bigain.core.provenance import ResultError, digest, provenance_file, read_provenance, write_sealed
from bigain.jobs.score import score_classification
from bigain.reporting.protocol import counted
from bigain.study.config import ConfigError
from bigain.study.cost import StudyCost
from bigain.study.products import outdated_files
from bigain.study.study import Study
from tests.helpers.small_study import CONFIG, small_study, write_study

NONE = "classification/mini_dit/fashion/none/full/seed-0"
CLASSIFIED, SCENES, GENERATED = range(3)  # entries of the small study


@pytest.fixture
def study(root, tmp_path, monkeypatch) -> Study:
    monkeypatch.chdir(tmp_path)
    return small_study(root, tmp_path)


def changed(*more: dict[str, Any], images: dict[int, int] | None = None, **settings: Any) -> Study:
    """Return the small study with `images` in some entries of `cells`, more entries, and other settings."""
    config = deepcopy(CONFIG) | settings
    for number, count in (images or {}).items():
        config["cells"][number]["images"] = count
    config["cells"] += more
    Path("small.yaml").write_text(yaml.safe_dump(config))
    return Study(merged_config([Path("small.yaml")]))


def another(methods: list[str], images: int, task: str = "classification", backbone: str = "mini_dit") -> dict:
    return {"task": task, "backbone": backbone, "dataset": "fashion", "methods": methods, "images": images}


def images(study: Study) -> dict[str, int]:
    return {f"{cell.task} {cell.method}": study.images(cell) for cell in study.cells if cell.dataset == "fashion"}


def test_an_entry_has_its_own_number_of_images_and_a_cell_of_two_the_larger(study):
    assert images(changed(another(["none"], 20), another(["tome"], 5), images={GENERATED: 50})) == {
        "classification none": 20,
        "classification bigain_tm": 12,
        "classification tome": 5,
        "generation none": 50,
        "generation bigain_td": 50,
    }
    fewer = changed(another(["none"], 5))
    assert images(fewer) == images(study)


def test_the_whole_data_set_is_more_than_any_number(study):
    datasets = {"fashion": {"images": None}, "fashion_scenes": {"images": 12}}
    assert images(changed(another(["none"], 20), datasets=datasets))["classification none"] == 2000


def test_as_many_images_are_encoded_as_a_cell_of_the_model_classifies(study):
    more = another(["tome"], 20), another(["todo"], 60, "generation", "mini_unet")
    larger = changed(*more, probes={"images": 100})
    assert json.loads(larger.latents_spec("mini_dit", "fashion"))["images"] == 20
    assert json.loads(larger.latents_spec("mini_unet", "fashion_scenes"))["images"] == 12
    assert json.loads(larger.conditions_spec("mini_unet", "fashion"))["captions"] == 60
    assert json.loads(larger.conditions_spec("mini_dit", "fashion"))["captions"] == 0
    assert json.loads(larger.spectrum_spec("mini_dit", "fashion"))["images"] == 20


def test_chunks_and_costs_follow_each_cells_images(study):
    larger = changed(another(["none"], 24))
    by_path = {cell.path: cell for cell in larger.cells}
    assert larger.chunks(by_path[NONE]) == [(0, 6), (6, 12), (12, 18), (18, 24)]
    before, after = (StudyCost(each).cost(each.cell(NONE)) for each in (study, larger))
    assert after.predictions == 2 * before.predictions
    assert sum(StudyCost(larger).cost(cell).jobs for cell in larger.cells) == len(larger.cost)


def test_the_report_says_the_range(study):
    datasets = json.loads(changed(another(["tome"], 20), images={GENERATED: 50}).report_spec())["datasets"]
    assert counted(datasets["fashion"]) == {"classified": "12 to 20", "generated": "50"}
    assert counted(datasets["fashion_scenes"]) == {"classified": "12", "generated": None}
    assert "fewest_images" not in json.loads(study.report_spec())["datasets"]["fashion"]


@pytest.mark.parametrize(
    ("task", "count", "message"),
    [
        ("classification", 5000, r"cells\.3\.images: 5000 requested, and fashion has 2000"),
        ("generation", 3000, r"cells\.3\.images: 3000 requested, and fashion has 2000"),
        ("generation", 10, r"cells\.3\.images: 10 is not allowed; fashion-net's distances need at least 40 images"),
        ("classification", 0, r"cells\.3\.images: 0 is not allowed; must be at least 1"),
    ],
)
def test_an_impossible_number_names_the_entry(study, task, count, message):
    with pytest.raises(ConfigError, match=message) as raised:
        changed(another(["todo"], count, task))
    assert len(str(raised.value).splitlines()) == 2  # the heading and this problem alone


def test_more_images_and_captions_of_other_cells_leave_a_cells_specs(study):
    larger = changed(another(["tome"], 20), another(["todo"], 60, "generation", "mini_dit"))
    for cell in study.cells:
        assert larger.score_spec(cell.path) == study.score_spec(cell.path)
    assert larger.latents_spec("mini_dit", "fashion") != study.latents_spec("mini_dit", "fashion")


def test_other_prompts_outdate_a_cell(study):
    inputs = []
    for prompts in ("paper", "released"):
        pets = {"reader": "pets", "path": "pets", "images": 12, "prompts": prompts}
        entry = another(["none"], 12, backbone="mini_unet") | {"dataset": "pets"}
        (cell,) = (study := changed(datasets={"pets": pets}, cells=[entry])).cells
        inputs.append(json.loads(study.score_spec(cell.path))["inputs"])
    assert inputs[0]["conditions"] != inputs[1]["conditions"]


def test_fewer_images_and_captions_of_other_cells_compute_nothing_again(study):
    larger = changed(another(["tome"], 20), another(["todo"], 60, "generation", "mini_unet"))
    write_study(larger)
    smaller = changed()
    kept = {json.loads(smaller.latents_spec("mini_dit", "fashion"))["images"]}
    kept.add(json.loads(smaller.conditions_spec("mini_unet", "fashion"))["captions"])
    assert kept == {20, 60}
    cells = {f"{smaller.results}/cells/{cell.path}" for cell in smaller.cells}
    outdated = [file for file in outdated_files(smaller) if "/cells/" in file or "/inputs/" in file]
    assert outdated == []
    assert all(Path(cell, "metrics.json").exists() for cell in cells)


def test_outcomes_stay_when_other_cells_get_more_images(study):
    write_study(study)
    folder = Path("docs/small/outcomes")
    command = ["outcomes", str(folder), "--configfile", "small.yaml"]
    assert "5 of 5 cells" in CliRunner().invoke(app, command).output
    shutil.rmtree(Path(study.results, "cells"))
    shutil.rmtree(Path(study.results, "inputs"))
    more = (another(["bigain_tm"], 20), another(["none", "bigain_tm"], 60, "generation", "mini_dit"))
    changed(*more)
    assert "4 of 7 cells (4 kept from before)" in CliRunner().invoke(app, command).output


def test_a_chunk_that_recorded_how_many_were_encoded_is_still_scored(study):
    """Provenance of earlier versions holds the digest of the whole spec of an input."""
    write_study(study)
    spec, chunks = json.loads(study.score_spec(NONE)), list(map(Path, study.chunk_files(study.cell(NONE))))
    output = Path(study.results, "cells", NONE, "metrics.json")
    scored = output.read_bytes()
    for chunk in chunks:
        provenance = read_provenance(chunk)
        for entry in provenance["inputs"].values():
            entry["spec"] = digest(read_provenance(entry["file"])["spec"])
        write_sealed(provenance_file(chunk), provenance)
    score_classification(spec, chunks, output)
    again = json.loads(output.read_bytes())
    assert again["metrics"] == json.loads(scored)["metrics"]
    provenance["inputs"]["latents"]["sha256"] = "0" * 64
    write_sealed(provenance_file(chunks[-1]), provenance)
    with pytest.raises(ResultError, match="was computed from latents of other settings or code than now"):
        score_classification(spec, chunks, output)
