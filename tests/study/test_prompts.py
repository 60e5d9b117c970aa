"""Prompts and captions that a study's models do not read to their end: faults of one's own, notes on published ones."""

import json
import shutil

import pytest
import yaml

from bigain.core.files import read_json
from bigain.core.provenance import ResultError, provenance_file, read_provenance, write_sealed
from bigain.jobs.cut_prompts import cut_off_fact
from bigain.jobs.encode import encode_conditions
from bigain.study.cost import StudyCost
from bigain.study.requirements import Needs, notes, problems
from bigain.study.study import Study
from tests.helpers.own_images import class_folders
from tests.helpers.random_pipelines import flux

LONG = "a photo of a {} on a white background, seen from the side, in grey, its own shadow and nothing else beside it"


@pytest.fixture(autouse=True)
def _in_a_checkout(root, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "resources").symlink_to(root / "resources")
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def short_reader(root, tmp_path):
    """Return a function that copies an embedded model, whose tokenizers then have another limit."""

    def copy(name, limit):
        folder = tmp_path / name
        shutil.copytree(root / "resources" / name, folder)
        for file in folder.glob("tokenizer*/tokenizer_config.json"):
            file.write_text(json.dumps(read_json(file) | {"model_max_length": limit, "max_length": limit}))
        return str(folder)

    return copy


def study_of(root, task, dataset, model=None, **settings):
    raw = yaml.safe_load((root / "config/config.yaml").read_text())
    raw["backbones"]["model"] = model or raw["backbones"]["mini_unet"]
    raw["datasets"][dataset] = raw["datasets"].get(dataset, {}) | settings
    raw["cells"] = [{"task": task, "backbone": "model", "dataset": dataset, "methods": ["none"]}]
    return Study(raw)


def lacks(study):
    return problems(study, StudyCost(study), Needs.of_study(study))


@pytest.mark.parametrize("family", ["mmdit", "flux"])
def test_long_prompts_of_one_s_own_are_faults_for_flow_models_too(root, tmp_path, family):
    folder = class_folders(tmp_path / "mine", {"boot": 6, "bag": 6})
    path = "resources/mini-mmdit" if family == "mmdit" else str(flux(tmp_path / "flux", guidance_embeds=True))
    study = study_of(
        root,
        *("classification", "mine", {"family": family, "path": path}),
        **{"reader": "folder", "path": str(folder), "prompt": LONG},
    )
    first, second = lacks(study)
    assert first.startswith("datasets.mine: the prompt 'a photo of a bag on a white")
    assert "model reads 20 and would" in first if family == "mmdit" else "model reads 77 and would" in first
    assert "boot" in second
    assert notes(study) == []


def test_published_captions_that_are_cut_off_are_noted_recorded_and_counted(root, tmp_path, short_reader):
    """Of the 40 scenes' captions two have two classes with names of two words: longer than 9 tokens."""
    path, file = short_reader("mini-unet", 9), tmp_path / "conditions.safetensors"
    study = study_of(root, "generation", "fashion_scenes", {"family": "unet", "path": path}, generate=40)
    assert lacks(study) == []
    encode_conditions(json.loads(study.conditions_spec("model", "fashion_scenes")), file)
    recorded = read_provenance(file)
    cut = recorded["cut_off"]["captions"]
    assert recorded["tokens_read"] == {"text_encoder": 9}
    assert recorded["partly_read"] == {"candidates": [], "captions": []}
    assert cut
    (note,) = notes(study)
    assert note.startswith(f"datasets.fashion_scenes: model reads the first 9 tokens of {len(cut)} of ")
    rows = [max(cut) + 1, cut[0], cut[0]]
    assert cut_off_fact(file, "captions", rows, 100) == {"cut_off": {"positions": [101, 102], "after": 9}}
    assert cut_off_fact(file, "candidates", range(10)) == {}
    del recorded["cut_off"]  # as in files that were encoded before it was recorded
    write_sealed(provenance_file(file), recorded)
    with pytest.raises(ResultError, match=r"conditions\.safetensors does not record which prompts .*\. Delete it and "):
        cut_off_fact(file, "candidates", range(10))


def test_classes_that_cutting_makes_equal_are_a_fault_before_any_job_and_in_it(root, tmp_path, short_reader):
    """Every prompt is "a photo of a", or less, to a model that reads five tokens."""
    study = study_of(root, "classification", "fashion", {"family": "mmdit", "path": short_reader("mini-mmdit", 5)})
    unread = lacks(study)
    assert len(unread) == 9
    assert all(line.startswith("datasets.fashion: the prompts 'a photo of a ") for line in unread)
    with pytest.raises(ValueError, match=r"differ only where no text encoder reads them, after 5 tokens: the class"):
        encode_conditions(json.loads(study.conditions_spec("model", "fashion")), tmp_path / "conditions.safetensors")
