"""Studies of your own images: their specs, and what is wrong with them before any job."""

import json
import shutil

import pytest
import yaml
from transformers import CLIPTokenizer

from bigain.core.files import read_json, write_json
from bigain.study import folders
from bigain.study.config import ConfigError, load
from bigain.study.cost import StudyCost
from bigain.study.requirements import Needs, notes, problems
from bigain.study.study import Study
from tests.helpers.own_images import class_folders, labelled, picture


@pytest.fixture(autouse=True)
def _in_a_checkout(root, tmp_path, monkeypatch):
    """Run in a folder that has the repository's models and configs, and keeps checksums out of it."""
    (tmp_path / "here").mkdir()
    for name in ("resources", "config"):
        (tmp_path / "here" / name).symlink_to(root / name)
    monkeypatch.chdir(tmp_path / "here")
    forget()


def forget():
    """As a fresh process would."""
    folders._data.cache_clear()


@pytest.fixture
def mine(tmp_path):
    return class_folders(tmp_path / "mine", {"boot": 6, "bag": 6})


def study_of(root, path, tasks=("classification",), backbone="mini_unet", **settings):
    """The config of a study of one folder."""
    raw = yaml.safe_load((root / "config/config.yaml").read_text())
    raw["datasets"]["mine"] = {"reader": "folder", "path": str(path), "generate": 12, **settings}
    raw["generation"]["allow_few"] = True
    raw["cells"] = [{"task": task, "backbone": backbone, "dataset": "mine", "methods": ["none"]} for task in tasks]
    return raw


def faults(raw):
    forget()
    try:
        load(raw)
    except ConfigError as error:
        return [line.strip() for line in str(error).splitlines()[1:]]
    return []


def lacks(raw):
    study = Study(raw)
    return problems(study, StudyCost(study), Needs.of_study(study))


BOTH = ("classification", "generation")


def test_a_study_of_a_folder_is_planned(root, mine):
    study = Study(study_of(root, mine, BOTH))
    assert ({study.images(cell) for cell in study.cells}, study.classes("mine")) == ({12}, 2)
    assert not study.multi_label("mine")
    spec = json.loads(study.job_spec(study.cells[0].path, 0))["dataset"]
    assert spec.keys() == {"id", "reader", "path", "prompts", "candidates", "data", "subset"}
    assert lacks(study_of(root, mine, BOTH)) == []


def test_settings_that_jobs_read_with_are_in_the_spec(root, mine):
    (mine / "classes.csv").write_text("class,name\nboot,shoe\nbag,bag\n")
    settings = {"class_names": "classes.csv", "prompt": "a {}", "class_ids": {"boot": 9, "bag": 8}}
    spec = json.loads(Study(study_of(root, mine, **settings)).conditions_spec("mini_unet", "mine"))["dataset"]
    assert {key: spec[key] for key in settings} == settings


@pytest.mark.parametrize("change", ["added", "edited", "renamed", "class"])
def test_any_change_of_the_images_computes_the_cells_again(root, mine, change):
    def specs():
        forget()
        study = Study(study_of(root, mine, BOTH))
        return [study.job_spec(study.cells[0].path, 0), study.reference_spec("mine")]

    before = specs()
    assert specs() == before
    if change == "added":
        picture(mine / "bag/9.png", 77)
    elif change == "edited":
        picture(mine / "bag/5.png", 77)
    elif change == "renamed":
        (mine / "bag/5.png").rename(mine / "bag/51.png")
    else:
        (mine / "bag").rename(mine / "bags")
    assert not set(specs()) & set(before)


def test_the_reference_may_be_another_folder(root, mine, tmp_path):
    real = class_folders(tmp_path / "real", {"x": 2})
    study = Study(study_of(root, mine, BOTH, reference=str(real)))
    spec = json.loads(study.reference_spec("mine"))["dataset"]
    assert (spec["reader"], spec["path"]) == ("pictures", str(real))
    (fault,) = faults(study_of(root, mine, BOTH, reference=str(tmp_path / "none")))
    assert fault.startswith(f"datasets.mine.reference: {tmp_path / 'none'} is missing, or not a folder")
    (real / "x/0.png").write_bytes(b"")
    (problem,) = lacks(study_of(root, mine, BOTH, reference=str(real)))
    assert "x/0.png is empty" in problem


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": 40}, "datasets.mine.images: 40 requested, and the folder has 12"),
        ({"prompt": "a photo"}, "datasets.mine: prompt 'a photo' must contain {}"),
        ({"prompts": "released"}, "datasets.mine.prompts: folder has no 'released' prompts"),
        ({"labels": "no.csv"}, "no.csv is missing; it must be a CSV file"),
        ({"class_ids": {"bag": 1}}, "datasets.mine: class_ids names no class 'boot'"),
        ({"candidates": [0, 7]}, "candidates are distinct classes from 0 to 1, not [7]"),
    ],
)
def test_settings_that_do_not_fit_the_folder_are_named(root, mine, settings, message):
    (fault,) = faults(study_of(root, mine, BOTH, **settings))
    assert message in fault


def test_a_classifier_needs_two_classes_and_a_generator_one(root, tmp_path):
    single = class_folders(tmp_path / "single", {"bag": 12})
    (fault,) = faults(study_of(root, single))
    assert fault == "datasets.mine: 'bag' is its only class; a classifier needs at least 2"
    assert faults(study_of(root, single, ("generation",))) == []


def test_classes_with_equal_prompts_are_named(root, tmp_path):
    path = class_folders(tmp_path / "twice", {"a boot": 6, "a_boot": 6})
    (fault,) = faults(study_of(root, path))
    assert "two classes are called 'a boot': both have the prompt 'a photo of a a boot'" in fault


def test_only_a_folder_has_a_template(root, mine):
    raw = study_of(root, mine)
    raw["datasets"]["fashion"]["prompt"] = "a {}"
    raw["cells"][0]["dataset"] = "fashion"
    assert faults(raw) == ["datasets.fashion.prompt: only the reader `folder` has it, and this one is fashion"]


def test_a_class_conditioned_model_needs_its_own_numbers(root, mine):
    (fault,) = faults(study_of(root, mine, backbone="mini_dit"))
    assert (
        "datasets.mine.class_ids: mini_dit is conditioned on its own classes, so each of the 2 classes needs" in fault
    )
    ids = {"boot": 9, "bag": 8}
    assert faults(study_of(root, mine, backbone="mini_dit", class_ids=ids)) == []
    (fault,) = faults(study_of(root, mine, backbone="mini_dit", class_ids=ids | {"bag": 10}))
    assert fault == "datasets.mine.class_ids: 10 is beyond the 10 classes of mini_dit, which are numbered from 0"


def test_ids_of_labels_that_are_not_counted_from_0_are_an_error_that_names_them(root, mine, tmp_path):
    """As of a model whose labels are numbered from 1: how many there are does not say which numbers it knows."""
    folder = shutil.copytree(root / "resources/mini-dit", tmp_path / "dit")
    index = read_json(folder / "model_index.json")
    write_json(folder / "model_index.json", index | {"id2label": {str(k + 1): str(k) for k in range(10)}})
    study = study_of(root, mine, backbone="mini_dit", class_ids={"boot": 9, "bag": 8})
    study["backbones"]["mini_dit"]["path"] = str(folder)
    (fault,) = faults(study)
    assert (
        fault
        == f"backbones.mini_dit: {folder}/model_index.json: the 10 ids of id2label have to be 0 to 9; others are 10"
    )


def test_an_image_without_label_and_caption_cannot_be_generated(root, tmp_path):
    settings = labelled(tmp_path / "mine", "file,labels\na.png,cat\nb.png,\nc.png,dog|cat\n")
    raw = study_of(root, **{"path": settings["path"], "tasks": BOTH, "labels": "labels.csv", "generate": 3})
    (fault,) = faults(raw)
    assert fault.startswith(
        "datasets.mine: nothing says what to generate for b.png: give it a label, or the file a col"
    )
    raw["cells"] = raw["cells"][:1]
    study = Study(raw)
    assert study.multi_label("mine")
    assert study.probed() == []


def test_prompts_that_would_be_cut_off_are_named_before_any_job(root, mine):
    long = "a photo of a {} on a white background, seen from the side, in grey, with its shadow"
    lines = lacks(study_of(root, mine, prompt=long))
    tokenizer = CLIPTokenizer.from_pretrained("resources/mini-unet", subfolder="tokenizer")
    counts = [len(tokenizer(long.replace("{}", name), verbose=False).input_ids) for name in ("bag", "boot")]
    for problem, name, count in zip(lines, ("bag", "boot"), counts, strict=True):
        assert problem.startswith(f"datasets.mine: the prompt 'a photo of a {name} on a white")
        assert f"has {count} tokens; mini_unet reads 20 and would drop the rest: shorten the class's name" in problem


def test_several_labels_are_not_one_class_to_generate_or_to_calibrate_on(root, tmp_path):
    settings = labelled(tmp_path / "mine", "file,labels\na.png,cat\nb.png,dog\nc.png,dog|cat\n")
    settings = {"path": settings["path"], "labels": "labels.csv", "class_ids": {"cat": 1, "dog": 2}}
    (fault,) = faults(study_of(root, tasks=BOTH, backbone="mini_dit", **settings))
    assert fault == "datasets.mine: mini_dit generates one class per image, and its images have any number of labels"
    raw = study_of(root, class_folders(tmp_path / "test", {"boot": 6, "bag": 6}))
    raw["cells"][0]["methods"] = ["mosaicdiff"]
    raw["backbones"]["mini_unet"]["calibration"] = "train"
    raw["calibration"] = {"images": 3, "prompts": 3}
    raw["datasets"]["train"] = {"reader": "folder", **settings}
    of_labels, of_sharing = faults(raw)
    assert "train, of backbones.mini_unet.calibration: structural methods are calibrated on images of one" in of_labels
    assert "train is not allowed, because it shares images with mine" in of_sharing


def test_captions_begin_anew_after_the_last(root, mine):
    study = Study(study_of(root, mine, BOTH, generate=50))
    assert json.loads(study.conditions_spec("mini_unet", "mine"))["captions"] == 50
    assert lacks(study_of(root, mine, BOTH, generate=50)) == []


def test_a_reference_too_small_for_the_distances_is_named(root, mine, tmp_path):
    raw = study_of(root, mine, ("generation",), generate=2048)
    raw["feature_network"] = {"name": "inception", "weights": str(tmp_path / "inception.pth")}
    (fault,) = faults(raw)
    assert fault.startswith(
        "datasets.mine.reference: generated images are compared with 12, and KID needs at least 1000"
    )
    raw["datasets"]["mine"]["generate"] = 500
    assert faults(raw) == []


def test_what_is_left_out_is_said(root, tmp_path):
    settings = labelled(tmp_path / "mine", "file,label\na.png,cat\nb.png,dog\n")
    study = Study(study_of(root, settings["path"], labels="labels.csv"))
    (note,) = notes(study)
    assert note.endswith("such as c.png, are left out: labels.csv does not name them")


def test_a_calibration_folder_shares_no_image_with_the_test_folder(root, mine, tmp_path):
    raw = study_of(root, mine)
    raw["cells"][0]["methods"] = ["mosaicdiff"]
    raw["backbones"]["mini_unet"]["calibration"] = "train"
    raw["calibration"] = {"images": 6, "prompts": 6}
    other = class_folders(tmp_path / "train", {"unrelated": 12})
    for file in other.rglob("*.png"):
        picture(file, 500 + int(file.stem))
    (other / "unrelated").rename(other / "boot")
    picture(other / "bag/0.png", 900)
    raw["datasets"]["train"] = {"reader": "folder", "path": str(other)}
    assert faults(raw) == []
    shutil.copy(mine / "bag/3.png", other / "bag/copy.png")
    (fault,) = faults(raw)
    assert "train is not allowed, because it shares images with mine" in fault
