"""DiffusionClassifier as an estimator of scikit-learn: cross-validation, grid search, copies and threads."""

import copy
import pickle
from threading import Thread

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from sklearn.base import is_classifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.validation import check_is_fitted

import bigain
from bigain.zero_shot.turns import turn_on
from tests.helpers.models import run_unet, tiny_unet

PROMPTS = {"bag": "a photo of a bag", "coat": "a photo of a coat"}
LABELS = ["bag", "coat", "coat", "bag"]


@pytest.fixture(scope="module")
def pipe(root):
    return DiffusionPipeline.from_pretrained(root / "resources/mini-unet")


@pytest.fixture(scope="module")
def classifier(pipe):
    return bigain.DiffusionClassifier(pipe, PROMPTS, stages=(1,), batch_size=4, progress=False)


@pytest.fixture(scope="module")
def images():
    return list(np.random.default_rng(0).integers(0, 256, (4, 32, 32), dtype=np.uint8))


def test_cross_validation_scores_each_fold(classifier, images):
    assert is_classifier(classifier)
    hits = classifier.predict(images) == np.array(LABELS)
    scores = cross_val_score(classifier, images, LABELS, cv=2)
    assert scores.tolist() == [hits[:2].mean(), hits[2:].mean()]


def test_grid_search_tries_methods_and_stages(classifier, images):
    grid = [{"method": ["tome"], "ratio": [0.25]}, {"stages": [(2,)]}]
    search = GridSearchCV(classifier, grid, cv=2, refit=False).fit(images, LABELS)
    expected = []
    for changed in ({"method": "tome", "ratio": 0.25}, {"stages": (2,)}):
        estimator = bigain.DiffusionClassifier(**{**classifier.get_params(), **changed})
        expected.append(estimator.score(images, LABELS))
    assert search.cv_results_["mean_test_score"].tolist() == expected
    assert search.best_score_ == max(expected)


def test_fit_checks_its_arguments_and_trains_nothing(classifier, images):
    before = classifier.get_params()
    assert classifier.fit(images, LABELS) is classifier
    assert classifier.fit(images).classes_.tolist() == ["bag", "coat"]
    assert classifier.get_params() == before
    check_is_fitted(classifier)
    for labels, message in ((["bag"], "1 labels for 4 images"), (["bags"] * 4, "unknown label 'bags'")):
        with pytest.raises(ValueError, match=message):
            classifier.fit(images, labels)
    with pytest.raises(ValueError, match="images are empty"):
        classifier.fit([], [])


def test_pickles_and_deep_copies_hold_their_own_model(classifier, images):
    errors = classifier.errors(images[:1])
    for other in (pickle.loads(pickle.dumps(classifier)), copy.deepcopy(classifier)):
        assert other.pipe.unet is not classifier.pipe.unet
        assert other.errors(images[:1]).equals(errors)


def test_another_thread_cannot_run_the_model_of_a_running_classifier():
    model, faults = tiny_unet(), []
    block = model.mid_block.attentions[0].transformer_blocks[0]

    def run():
        for call in (lambda: run_unet(model), lambda: block(torch.zeros(1, 4, block.dim), encoder_hidden_states=None)):
            try:
                call()
            except RuntimeError as error:
                faults.append(str(error))

    with turn_on(model):
        run_unet(model)
        other = Thread(target=run)
        other.start()
        other.join()
    run_unet(model)
    assert len(faults) == 2
    assert all("a DiffusionClassifier runs on this model in another thread" in fault for fault in faults)


def test_threads_that_share_a_model_get_the_results_of_one(classifier, images):
    compressed = bigain.DiffusionClassifier(**{**classifier.get_params(), "method": "tome", "ratio": 0.5})
    expected = [estimator.errors(images) for estimator in (classifier, compressed)]
    results = {}

    def run(k):
        results[k] = (classifier, compressed)[k % 2].errors(images)

    threads = [Thread(target=run, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(results[k].equals(expected[k % 2]) for k in range(2))
