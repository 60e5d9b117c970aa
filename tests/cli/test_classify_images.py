"""`bigain classify-images`: what `DiffusionClassifier` says of a folder, resumed, calibrated, and every fault named."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

import bigain
from bigain.cli.main import app
from bigain.core.columns import columns_of
from bigain.datasets import load
from bigain.zero_shot.classifier import DiffusionClassifier
from tests.helpers.repository import ROOT

UNET, DIT = str(ROOT / "resources/mini-unet"), str(ROOT / "resources/mini-dit")
FASHION = load({"reader": "fashion", "path": str(ROOT / "resources/fashion")})
PROMPTS = {name: f"a photo of a {name}" for name in ("bag", "shirt", "sneaker")}
FAST = ["--stages", "1,2", "--keep", "2,1", "--batch-size", "6", "--device", "cpu"]


def write_images(folder, places, by_class=False):
    for place in places:
        file = folder / (FASHION.class_names[FASHION.labels[place][0]] if by_class else "") / f"{place:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        FASHION.open(place).save(file)
    return folder


def of_classes(count, skip=0):
    """Return the places of the first images of the three classes, `count` of each, after `skip` others."""
    places = {name: [] for name in PROMPTS}
    for place, labels in enumerate(FASHION.labels):
        places.get(FASHION.class_names[labels[0]], []).append(place)
    return sorted(place for listed in places.values() for place in listed[skip : skip + count])


@pytest.fixture
def folder(tmp_path):
    return write_images(tmp_path / "images", of_classes(1))


@pytest.fixture
def names(tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(PROMPTS))
    return ["--prompts", str(tmp_path / "names.txt"), "--template", "a photo of a {}"]


def classify(folder, out, *arguments):
    return CliRunner().invoke(app, ["classify-images", str(folder), "--out", str(out), *FAST, *arguments])


def refusal(folder, out, *arguments):
    completed = classify(folder, out, *arguments)
    assert completed.exit_code == 2, completed.output
    assert not out.exists()
    return " ".join(completed.stderr.split())


def classifier(**options):
    return DiffusionClassifier(UNET, PROMPTS, stages=(1, 2), keep=(2, 1), batch_size=6, progress=False, **options)


def test_predictions_are_those_of_the_classifier(tmp_path, folder, names):
    (folder / "notes.txt").write_text("not an image")
    arguments = ["--method", "bigain_tm", "--ratio", "0.5", "--errors", str(tmp_path / "errors.parquet")]
    completed = classify(folder, tmp_path / "out.csv", "--model", UNET, *names, *arguments)
    assert completed.exit_code == 0, completed.output
    frame = pd.read_csv(tmp_path / "out.csv")
    files = sorted(path.name for path in folder.glob("*.png"))
    assert frame["file"].tolist() == files
    direct = classifier(method="bigain_tm", ratio=0.5)
    trials = direct.errors([folder / name for name in files])
    assert frame["predicted"].tolist() == direct.predict(trials).tolist()
    columns = [f"p({name})" for name in PROMPTS]
    assert np.allclose(frame[columns], direct.predict_proba(trials), rtol=1e-9)
    assert frame["probability"].tolist() == frame[columns].max(axis=1).tolist()
    assert not frame["calibrated"].any()
    assert frame["fault"].isna().all()
    both = trials[trials["image"] == 0].pivot(index="t", columns="class", values="error").dropna(axis=1).astype(float)
    assert frame["margin"][0] <= np.diff(np.sort(both.mean()))[0] + 1e-9
    stored = pd.read_parquet(tmp_path / "errors.parquet")
    assert np.array_equal(stored["error"], trials["error"])
    assert stored["file"].unique().tolist() == files
    assert direct.predict(stored).tolist() == frame["predicted"].tolist()
    described = [name for name in columns_of("predictions") if name != "p(CLASS)"]
    assert list(frame) == [*described, *columns]
    assert list(stored) == list(columns_of("errors"))
    assert "3 images classified" in completed.output
    assert "1 files are not images by their extension: notes.txt" in completed.output
    assert "probabilities are not calibrated and mean nothing" in completed.output
    spec = json.loads((tmp_path / "out.csv.json").read_text())["spec"]
    assert spec["candidates"] == [list(pair) for pair in PROMPTS.items()]


def test_a_killed_run_resumes_and_gives_the_same_file(tmp_path, names, monkeypatch):
    monkeypatch.setitem(DiffusionClassifier.__init__.__kwdefaults__, "block", 2)
    folder = write_images(tmp_path / "images", of_classes(1))  # a group of two, and one of one
    whole = classify(folder, tmp_path / "whole.csv", "--model", UNET, *names)
    assert whole.exit_code == 0, whole.output
    computed, errors = [], DiffusionClassifier.errors

    def killed(self, images, ids=None):
        computed.append(len(images))
        if len(computed) == 2:
            raise KeyboardInterrupt
        return errors(self, images, ids)

    monkeypatch.setattr(DiffusionClassifier, "errors", killed)
    assert classify(folder, tmp_path / "out.csv", "--model", UNET, *names).exit_code != 0
    assert not (tmp_path / "out.csv").exists()
    completed = classify(folder, tmp_path / "out.csv", "--model", UNET, *names)
    assert "2 of them by an earlier run" in completed.output
    assert computed == [2, 1, 1]
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_what_is_resumed_has_the_same_settings_and_images(tmp_path, folder, names, monkeypatch):
    counted = []

    def made_up(self, images):
        counted.append(1)
        rows = [(k, c, 500, 0, 1.0 + c) for k in range(len(images)) for c in range(3)]
        return pd.DataFrame(rows, columns=["image", "class", "t", "stage", "error"])

    monkeypatch.setattr(DiffusionClassifier, "errors", made_up)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # as if each run were killed at the end
    out = tmp_path / "out.csv"
    for count, changes in enumerate((names, ["--seed", "1", *names], [*names, "--method", "todo", "--factor", "2"])):
        assert classify(folder, out, "--model", UNET, *changes).exit_code == 0
        assert len(counted) == count + 1
    Path(names[1]).write_text("\n".join(reversed(PROMPTS)))
    assert classify(folder, out, "--model", UNET, *names).exit_code == 0
    write_images(folder, of_classes(1, skip=1))
    assert classify(folder, out, "--model", UNET, *names).exit_code == 0
    assert len(counted) == 5
    assert "6 of them by an earlier run" in classify(folder, out, "--model", UNET, *names).output
    assert len(counted) == 5


def test_classes_have_the_model_s_names_or_those_of_the_list(tmp_path, folder):
    (tmp_path / "ids.txt").write_text("8\n6 a shirt\n")
    completed = classify(folder, tmp_path / "out.csv", "--model", DIT, "--class-ids", str(tmp_path / "ids.txt"))
    assert completed.exit_code == 0, completed.output
    assert list(pd.read_csv(tmp_path / "out.csv"))[-2:] == ["p(bag)", "p(a shirt)"]


def test_probabilities_are_calibrated_on_labelled_images(tmp_path, folder, names):
    labelled = write_images(tmp_path / "labelled", of_classes(2, skip=1), by_class=True)
    completed = classify(folder, tmp_path / "out.csv", "--model", UNET, *names, "--calibrate-on", str(labelled))
    assert completed.exit_code == 0, completed.output
    files = sorted(labelled.rglob("*.png"))
    direct = classifier().calibrate(files, [path.parent.name for path in files])
    spec = json.loads((tmp_path / "out.csv.json").read_text())["spec"]
    assert spec["temperature"] == pytest.approx(direct.temperature, rel=1e-4)
    assert spec["calibrated_on"]["images"] == 6
    assert f"temperature {spec['temperature']:.4g}, fitted to 6 images" in completed.output
    frame = pd.read_csv(tmp_path / "out.csv")
    assert frame["calibrated"].all()
    images = [folder / name for name in frame["file"]]
    columns = [f"p({name})" for name in PROMPTS]
    assert np.allclose(frame[columns], direct.predict_proba(images), atol=1e-3)
    stated = classify(folder, tmp_path / "b.csv", "--model", UNET, *names, "--temperature", str(spec["temperature"]))
    assert "not calibrated" not in stated.output
    assert np.allclose(pd.read_csv(tmp_path / "b.csv")[columns], frame[columns], atol=1e-6)


def test_classes_and_errors_need_files_of_their_own(tmp_path, folder, names):
    out = tmp_path / "out.csv"
    message = refusal(folder, out, "--model", UNET, *names, "--errors", str(out))
    assert f"--out and --errors are both {out}: name two files" in message
    message = refusal(folder, out, "--model", UNET, *names, "--errors", f"{out}.json")
    assert f"--out and --errors are both {out}.json" in message
    message = refusal(folder, out, "--model", UNET, *names, "--errors", str(tmp_path / "nowhere/../out.csv"))
    assert "--out and --errors are both" in message
    message = refusal(folder, out, "--model", UNET, *names, "--errors", names[1])
    assert f"--errors {names[1]} is the file that --prompts reads, and would be replaced" in message


def test_files_that_no_classification_wrote_are_not_replaced(tmp_path, folder, names):
    image = next(folder.glob("*.png"))
    before = image.read_bytes()
    completed = classify(folder, image, "--model", UNET, *names)
    assert f"--out {image} exists and is not of an earlier" in " ".join(completed.stderr.split())
    out = tmp_path / "out.csv"
    message = refusal(folder, out, "--model", UNET, *names, "--errors", str(image))
    assert f"--errors {image} exists and is not the errors of an earlier classification" in message
    assert image.read_bytes() == before


def test_all_unreadable_images_are_named_or_listed_with_their_faults(tmp_path, folder, names):
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("no image")
    Image.new("RGB", (8, 2000)).save(folder / "strip.png")
    message = refusal(folder, tmp_path / "out.csv", "--model", UNET, *names)
    assert "3 of 6 images cannot be classified; --skip-unreadable leaves them out" in message
    expected = {
        "empty.png": "is empty",
        "text.jpg": "not an image in a format",
        "strip.png": "no side may be over 100 times",
    }
    for name, fault in expected.items():
        assert name in message
        assert fault in message
    completed = classify(folder, tmp_path / "out.csv", "--model", UNET, *names, "--skip-unreadable")
    assert "3 images classified, 3 left out" in completed.output
    frame = pd.read_csv(tmp_path / "out.csv").set_index("file")
    assert frame.index.tolist() == sorted(path.name for path in folder.iterdir())
    for name, fault in expected.items():
        assert fault in frame["fault"][name]
        assert frame.loc[name].drop("fault").isna().all()
    for path in folder.glob("[0-9]*"):
        path.unlink()
    message = refusal(folder, tmp_path / "none.csv", "--model", UNET, *names, "--skip-unreadable")
    assert "none of its 3 images can be classified" in message


def test_calibration_on_unfit_folders_is_refused(tmp_path, folder, names):
    def refused(labelled):
        return refusal(folder, tmp_path / "out.csv", "--model", UNET, *names, "--calibrate-on", str(labelled))

    labelled = write_images(tmp_path / "labelled", of_classes(1, skip=1), by_class=True)
    shutil.rmtree(labelled / "bag")
    assert f"{labelled} has no images of bag: every class needs some" in refused(labelled)
    write_images(labelled, [0])
    assert f"{labelled}/000.png lies in no sub-folder of a class; sub-folders are named after" in refused(labelled)
    (labelled / "000.png").unlink()
    write_images(labelled, of_classes(1), by_class=True)
    assert "which is classified: calibrate on other images" in refused(labelled)
    assert f"{tmp_path}/nowhere is not a folder" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nowhere", "--class-ids", "1,2"], "model_index.json is missing"),
        (["--model", DIT], "give either --prompts or --class-ids"),
        (["--model", DIT, "--class-ids", "1"], "a classifier chooses between at least two"),
        (["--model", DIT, "--class-ids", "1,1000"], "class id 1000 does not exist: the model has 10 classes"),
        (["--model", UNET, "--class-ids", "1,2"], "the model is conditioned on prompts, not on 1"),
        (
            ["--model", DIT, "--class-ids", "1,2", "--stages", "1,x"],
            "--stages is '1,x'; whole numbers joined by commas",
        ),
        (["--model", DIT, "--class-ids", "1,2", "--keep", "2"], "both of the same length"),
        (["--model", DIT, "--class-ids", "1,2", "--weights", "high"], "unknown weights 'high'; allowed are uniform"),
        (["--model", DIT, "--class-ids", "1,2", "--method", "tom"], "unknown method 'tom'. Did you mean 'tome'?"),
        (["--model", DIT, "--class-ids", "1,2", "--temperature", "0"], "it has to be positive and finite"),
        (["--model", DIT, "--class-ids", "1,2", "--temperature", "1", "--calibrate-on", "x"], "give either --temperat"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, folder, arguments, message):
    assert message in refusal(folder, tmp_path / "out.csv", *arguments)


def test_folders_without_images_and_bad_templates_are_refused(tmp_path, names):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").touch()
    message = refusal(tmp_path / "empty", tmp_path / "out.csv", "--model", UNET, *names)
    assert "empty holds no images, only other files by their endings: notes.txt" in message
    assert "nowhere is not a folder" in refusal(tmp_path / "nowhere", tmp_path / "out.csv", "--model", UNET, *names)
    message = refusal(tmp_path / "empty", tmp_path / "out.csv", "--model", UNET, *names[:2], "--template", "a photo")
    assert "template 'a photo' has to hold {} once" in message


def test_links_to_folders_and_other_names_than_text_are_refused(tmp_path, folder, names):
    (folder / "linked").symlink_to(tmp_path)
    assert "linked is a link to a folder, and links are not followed" in refusal(
        folder, tmp_path / "out.csv", "--model", UNET, *names
    )
    (folder / "linked").unlink()
    (folder / os.fsdecode(b"caf\xe9.png")).touch()
    assert "is not a name in UTF-8: rename it" in refusal(folder, tmp_path / "out.csv", "--model", UNET, *names)


def test_a_folder_in_place_of_the_output_is_refused_first(tmp_path, folder, names):
    completed = classify(folder, tmp_path, "--model", UNET, *names)
    assert completed.exit_code == 2
    assert f"{tmp_path} is a folder; a file is needed" in " ".join(completed.stderr.split())


def test_the_classifier_is_public():
    assert bigain.DiffusionClassifier is DiffusionClassifier


def test_predictions_without_settings_are_not_left_behind(tmp_path, folder, names, monkeypatch):
    """Otherwise the same command would refuse to replace them once the disk has space."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bigain.jobs.classify_images.Stopwatch.write_provenance", full)
    assert "No space left on device" in refusal(folder, tmp_path / "out.csv", "--model", UNET, *names)
