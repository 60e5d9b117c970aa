"""DiffusionClassifier on the embedded models: the study's numbers, from any kind of image, wherever it stands."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from diffusers import DiffusionPipeline
from sklearn.base import clone

import bigain
from bigain.backbones.devices import compiled
from bigain.classifier.descent import Descent
from bigain.classifier.elimination import Elimination
from bigain.datasets import load
from bigain.datasets.label_tree import read_levels
from bigain.jobs.classify import classify
from bigain.jobs.encode import encode_conditions, encode_images
from tests.helpers.jobs import FASHION, backbone_spec, classification

TRIAL = ["image", "class", "t", "stage"]
QUICK = {"stages": (1, 2), "keep": (2, 1), "batch_size": 7, "progress": False}


def difference(ours: pd.DataFrame, theirs: pd.DataFrame) -> float:
    """The largest difference between errors of the same trials, which may be in another order."""
    ours, theirs = (frame.sort_values(TRIAL, ignore_index=True) for frame in (ours, theirs))
    assert ours[TRIAL].to_numpy().tolist() == theirs[TRIAL].to_numpy().tolist()
    return (ours["error"] - theirs["error"]).abs().max()


@pytest.fixture(scope="module")
def dataset():
    return load(FASHION)


@pytest.fixture(scope="module")
def pictures(dataset):
    return [dataset.open(position) for position in range(4)]


@pytest.fixture(scope="module", params=["unet", "dit"])
def family(request):
    return request.param


@pytest.fixture(scope="module")
def pipe(family, root):
    return DiffusionPipeline.from_pretrained(root / f"resources/mini-{family}")


@pytest.fixture(scope="module")
def classifier(family, pipe, dataset):
    """A classifier of ten classes with the names of the data set, on a pipeline in memory."""
    values = dataset.prompts if family == "unet" else dataset.class_ids
    return bigain.DiffusionClassifier(pipe, dict(zip(dataset.class_names, values, strict=True)), **QUICK)


@pytest.fixture(scope="module")
def errors(classifier, pictures):
    return classifier.errors(pictures)


@pytest.mark.parametrize("method", ["none", "tome"])
def test_errors_are_those_of_a_study_s_job_bit_for_bit(method, family, classifier, dataset, pictures, tmp_path):
    """With the ids of its data set; the classifier's own ids are hashes of pixels."""
    common = {"backbone": backbone_spec(family), "dataset": FASHION, "threads": 1}
    inputs = tmp_path / "latents.safetensors", tmp_path / "conditions.safetensors"
    encode_images(common | {"images": 4}, inputs[0])
    encode_conditions(common | {"captions": 0}, inputs[1])
    spec = classification(family, method, tmp_path, images=(0, 4), block=2)
    classify(spec, *inputs, tmp_path / "job.parquet")
    places = "~blocks-1+2" if (family, method) == ("dit", "tome") else ""
    strength = {} if method == "none" else {"ratio": spec["strength"]}
    ours = clone(classifier).set_params(method=method + places, block=2, **strength)
    job = pq.read_table(tmp_path / "job.parquet").to_pandas()
    assert difference(ours.errors(pictures, ids=dataset.ids[:4]), job) == 0


def test_a_folder_gives_the_same_errors_as_its_pipeline_in_memory(family, classifier, errors, pictures, root):
    folder = clone(classifier).set_params(pipe=root / f"resources/mini-{family}", device="cpu")
    assert difference(folder.errors(pictures), errors) == 0


def test_an_image_s_errors_do_not_depend_on_its_place_or_its_neighbours(classifier, errors, pictures):
    others = classifier.errors([pictures[3], pictures[1], pictures[3]])
    for place, before in ((0, 3), (1, 1), (2, 3)):
        theirs = errors[errors["image"] == before].assign(image=place)
        assert difference(others[others["image"] == place], theirs) < 1e-6


def test_every_kind_of_image_gives_the_same_errors(classifier, errors, pictures, tmp_path):
    arrays = [np.asarray(picture) for picture in pictures]
    pictures[1].save(tmp_path / "trouser.png")
    kinds = [
        tmp_path / "trouser.png",
        pictures[1].convert("RGB"),
        arrays[1][..., None],
        (arrays[1] / 255).astype(np.float32),
        torch.from_numpy(arrays[1].copy())[None].float() / 255,
    ]
    mixed = classifier.errors([str(kinds[0]), *kinds[1:]])
    expected = errors[errors["image"] == 1]["error"].to_numpy()
    for place in range(len(kinds)):
        assert np.allclose(mixed[mixed["image"] == place]["error"], expected, rtol=0, atol=1e-6)


def test_a_batch_is_an_array_or_a_tensor_of_four_dimensions(classifier, errors, pictures):
    batch = np.stack([np.asarray(picture) for picture in pictures])
    assert difference(classifier.errors(batch[..., None]), errors) == 0
    assert difference(classifier.errors(torch.from_numpy(batch)[:, None]), errors) == 0


def test_predictions_are_names_and_probabilities_sum_to_one(classifier, errors, dataset):
    predicted = classifier.predict(errors)
    assert set(predicted) <= set(dataset.class_names)
    probability = classifier.predict_proba(errors)
    assert probability.shape == (4, 10)
    assert np.allclose(probability.sum(axis=1), 1)
    assert (classifier.classes_[probability.argmax(axis=1)] == predicted).all()
    assert classifier.score(errors, predicted) == 1
    assert classifier.score(errors, [*predicted[:3], next(n for n in dataset.class_names if n != predicted[3])]) == 0.75


def test_without_calibration_probabilities_are_flat_and_a_temperature_sharpens_them(classifier, errors):
    assert classifier.predict_proba(errors).max() < 0.2
    sharp = clone(classifier).set_params(temperature=1e-4)
    assert sharp.predict_proba(errors).max() > 0.5
    assert classifier.temperature is None


def test_an_explanation_adds_up_to_the_difference_of_errors(classifier, pictures):
    full = clone(classifier).set_params(stages=(2,), keep=None)
    errors = full.errors(pictures[2]).pivot_table(index="class", columns="t", values="error")
    explanation = full.explain(pictures[2])
    winner, rival = (full.classes_.tolist().index(name) for name in (explanation.winner, explanation.rival))
    assert [winner, rival] == errors.mean(axis=1).sort_values(kind="stable").index[:2].tolist()
    assert explanation.t.tolist() == errors.columns.tolist()
    assert np.allclose(explanation.by_timestep, errors.loc[rival] - errors.loc[winner], rtol=0, atol=1e-6)
    difference = errors.loc[rival].mean() - errors.loc[winner].mean()
    assert explanation.difference == pytest.approx(difference, abs=1e-6)
    assert explanation.by_region.mean() == pytest.approx(difference, abs=1e-6)
    assert explanation.by_region.shape == (16, 16)
    opposite = full.explain(pictures[2], winner=explanation.rival, rival=explanation.winner)
    assert opposite.difference == pytest.approx(-difference, abs=1e-6)


def test_the_figure_of_an_explanation_is_drawn(classifier, pictures, tmp_path):
    explanation = classifier.explain(pictures[0], rival="bag")
    explanation.figure().savefig(tmp_path / "explanation.png")
    assert explanation.rival == "bag"
    assert (tmp_path / "explanation.png").stat().st_size > 10_000


def test_the_pipeline_is_as_it_was_afterwards(classifier, pictures, pipe, family):
    denoiser = pipe.unet if family == "unet" else pipe.transformer
    hooks = [dict(module._forward_hooks) for module in denoiser.modules()]
    clone(classifier).set_params(method="bigain_tm", ratio=0.5).predict(pictures[:1])
    assert bigain.attached_to(pipe) is None
    assert [dict(module._forward_hooks) for module in denoiser.modules()] == hooks


def test_elimination_stops_when_a_class_is_far_ahead(classifier, pictures):
    full = clone(classifier).set_params(stages=(4,), keep=None)
    dropping = clone(full).set_params(elimination=Elimination(z=0.1, every=2))
    assert len(dropping.errors(pictures[:1])) < len(full.errors(pictures[:1])) == 40


def test_compilation_lasts_as_long_as_a_call_and_is_loud_where_it_cannot_be(classifier, pictures, monkeypatch):
    backbone, method = classifier._backbone, bigain.METHODS["none"]
    with compiled(backbone, "default", method):
        assert backbone.denoiser._compiled_call_impl is not None
    assert backbone.denoiser._compiled_call_impl is None
    monkeypatch.setattr("bigain.backbones.devices.missing_compiler", lambda device: "no C++ compiler")
    with pytest.raises(ValueError, match="compile is 'default', which does not work here: no C"):
        clone(classifier).set_params(compile="default").predict(pictures)


def test_it_follows_scikit_learn_s_conventions(classifier):
    parameters = classifier.get_params()
    copy = clone(classifier)
    assert copy is not classifier
    assert copy.get_params() == parameters
    assert copy.pipe is classifier.pipe  # no second copy of the model
    copy.set_params(seed=3)
    assert (copy.seed, classifier.seed) == (3, 0)
    again = bigain.DiffusionClassifier(**parameters)
    assert again.get_params() == parameters


def test_changed_candidates_are_used(classifier, pictures, family):
    """Also where they are set as a plain attribute."""
    changed = clone(classifier)
    names = classifier.classes_.tolist()
    changed.candidates = {name: classifier.candidates[name] for name in reversed(names)}
    first, second = classifier.errors(pictures[:1]), changed.errors(pictures[:1])
    assert difference(first, second.assign(**{"class": 9 - second["class"]})) < 1e-6


def test_a_descent_predicts_among_classes_that_are_evaluated_and_refuses_probabilities(
    classifier, errors, pictures, dataset, root
):
    levels = read_levels(root / "config/fashion_tree.json", dataset.class_names)
    descending = clone(classifier).set_params(descent=Descent(levels, keep=1))
    trials = descending.errors(pictures[:2])
    assert trials["class"].nunique() < 10
    predicted = descending.predict(trials)
    assert predicted.tolist() == descending.predict(pictures[:2]).tolist()
    assert {dataset.class_names.index(name) for name in predicted} <= set(trials["class"])
    assert descending.score(trials, predicted) == 1
    unseen = next(c for c in range(10) if c not in set(trials["class"]))
    assert descending.score(trials, [dataset.class_names[unseen]] * 2) == 0
    for refused in (
        descending.predict_proba,
        descending.explain,
        lambda images: descending.calibrate(images, predicted),
    ):
        with pytest.raises(ValueError, match="a descent leaves classes without errors"):
            refused(pictures[:2])
    with pytest.raises(ValueError, match="classes, and the classifier has 10"):
        classifier.predict(trials)
    part = errors[(errors["image"] != 0) | (errors["class"] != 3)]
    with pytest.raises(ValueError, match="image 0 has errors of 9 of 10 classes"):
        classifier.predict(part)
    with pytest.raises(ValueError, match="the label tree has 2 classes, and the classifier 10"):
        clone(classifier).set_params(descent=Descent((((0,), (1,)),), keep=1))
