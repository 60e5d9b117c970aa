"""Where in t the class is, for errors that show it at known timesteps."""

import numpy as np
import pytest

from bigain.metrics.informative_timesteps import (
    FITS,
    LogitNormal,
    Polynomial,
    bernstein,
    fit_logit_normal,
    hits_at_timesteps,
    judge_weights,
    tried_classes,
)
from tests.helpers.trial_tables import complete, run

GRID = list(range(25, 1000, 50))


def errors_with_the_class_at(informative, images=400, classes=5, seed=0):
    """Errors of noise alone, but that the right class (image modulo classes) is lower at some of the trials."""
    errors = np.random.default_rng(seed).normal(1, 0.1, (images, classes, len(GRID)))
    errors[np.arange(images), np.arange(images) % classes] -= 0.1 * np.array([t in informative for t in GRID])
    return errors, {image: image % classes for image in range(images)}


WINDOW = [t for t in GRID if 600 < t < 850]


def test_accuracy_at_a_timestep_is_above_chance_only_where_the_class_is():
    errors, labels = errors_with_the_class_at(WINDOW)
    profile = hits_at_timesteps(complete(errors, GRID), labels, 5).accuracies().set_index("t")
    assert profile.index.tolist() == GRID
    hits = errors.argmin(axis=1) == np.array([[labels[image]] for image in range(400)])
    assert profile["accuracy"].to_numpy() == pytest.approx(100 * hits.mean(axis=0))
    assert (profile.loc[WINDOW, "low"] > 20).all()
    outside = profile.drop(WINDOW)
    assert outside["accuracy"].max() < 30
    assert (outside["chance"] == 20).all()


def test_timesteps_that_only_survivors_reached_are_left_out_and_named():
    errors, labels = errors_with_the_class_at(WINDOW, images=4)
    survivors = {0: [list(range(5))] * 4, 1: [[0, 1], [0, 1, 2], [1, 4], [0, 1, 2, 3, 4]]}
    trials = run(errors, [0] * 5 + [1] * 15, survivors, GRID)
    decided = hits_at_timesteps(trials, labels, 5)
    assert decided.timesteps == GRID[:5]
    assert decided.incomplete == dict.fromkeys(GRID[5:], 2)
    right = errors.argmin(axis=1)[:, :5] == np.arange(4)[:, None] % 5
    assert (decided.hits == right).all()


def test_a_later_stage_that_keeps_every_class_counts():
    errors, labels = errors_with_the_class_at(WINDOW, images=4)
    stages = [0] * 5 + [1] * 15
    trials = run(errors, stages, {0: [list(range(5))] * 4, 1: [list(range(5))] * 4}, GRID)
    assert hits_at_timesteps(trials, labels, 5).timesteps == GRID


def test_a_timestep_that_an_image_lacks_has_no_class_tried_everywhere():
    errors, _ = errors_with_the_class_at(WINDOW, images=4)
    trials = complete(errors, GRID)
    fewer = trials[(trials["image"] != 2) | (trials["t"] != GRID[3])]
    assert tried_classes(fewer)[GRID[3]] == 0
    assert (tried_classes(fewer).drop(GRID[3]) == 5).all()


def test_timesteps_of_each_image_s_own_can_all_not_be_told():
    errors, labels = errors_with_the_class_at(WINDOW, images=2)
    trials = complete(errors, GRID)
    trials["t"] += trials["image"]
    decided = hits_at_timesteps(trials, labels, 5)
    assert decided.timesteps == []
    assert decided.accuracies().empty
    assert decided.incomplete == dict.fromkeys(sorted({*GRID, *(t + 1 for t in GRID)}), 0)


def test_a_class_that_was_never_tried_is_missed():
    errors, labels = errors_with_the_class_at(WINDOW, images=2)
    assert hits_at_timesteps(complete(errors, GRID), labels, 6).incomplete == dict.fromkeys(GRID, 5)


def test_a_trial_that_occurs_twice_is_an_error():
    errors, labels = errors_with_the_class_at(WINDOW, images=2)
    trials = complete(errors, GRID)
    trials.loc[0, "class"] = 1  # as often as every class is tried
    with pytest.raises(ValueError, match="a trial occurs twice in the errors"):
        hits_at_timesteps(trials, labels, 5)


def test_an_image_without_a_label_is_named():
    errors, labels = errors_with_the_class_at(WINDOW, images=2)
    del labels[1]
    with pytest.raises(ValueError, match="image 1 of the errors has no label"):
        hits_at_timesteps(complete(errors, GRID), labels, 5)


@pytest.mark.parametrize("name", FITS)
def test_fitted_weights_are_high_where_the_class_is(name):
    errors, labels = errors_with_the_class_at(WINDOW)
    weights = FITS[name](complete(errors, GRID), labels)
    t = np.array(GRID) / 1000
    inside = np.isin(GRID, WINDOW)
    assert weights(t).mean() == pytest.approx(1, rel=1e-3)
    assert (weights(t) >= 0).all()
    assert weights(t)[inside].mean() > 2 * weights(t)[~inside].mean()


def test_the_logit_normal_fit_finds_the_middle_of_the_window():
    errors, labels = errors_with_the_class_at(WINDOW)
    fitted = fit_logit_normal(complete(errors, GRID), labels)
    t = np.linspace(0.01, 0.99, 99)
    assert 0.6 < t[fitted(t).argmax()] < 0.85


def test_the_logit_normal_fit_keeps_a_shape_where_the_class_is_at_the_edge():
    errors, labels = errors_with_the_class_at([GRID[-1]])
    fitted = fit_logit_normal(complete(errors, GRID), labels)
    assert abs(fitted.mean) <= 4
    weights = fitted(np.array(GRID) / 1000)
    assert weights.argmax() == len(GRID) - 1
    assert np.isfinite(weights).all()


def test_bernstein_s_polynomials_sum_to_1_and_weigh_as_their_coefficients():
    t = np.linspace(0, 1, 7)
    assert bernstein(t, 4).sum(axis=-1) == pytest.approx(1)
    assert Polynomial((0.0, 0.5, 1.0))(t) == pytest.approx(t)


def test_logit_normal_weights_are_the_density_of_a_sigmoid_of_a_normal():
    from scipy.stats import norm

    t = np.linspace(0.05, 0.95, 5)
    density = norm.pdf(np.log(t / (1 - t)), 0.3, 0.8) / (t * (1 - t))
    values = LogitNormal(0.3, 0.8)(t)
    assert values / values.sum() == pytest.approx(density / density.sum())


def test_weights_are_judged_on_images_that_they_were_not_fitted_on():
    errors, labels = errors_with_the_class_at(WINDOW)
    judged = judge_weights(complete(errors, GRID), labels, range(180)).table.set_index("weights")
    assert (judged["images"] == 220).all()
    assert judged.loc["uniform", ["fitted_on", "difference"]].tolist() == [0, 0]
    for name in FITS:
        row = judged.loc[f"fitted, {name}"]
        assert row["fitted_on"] == 180
        assert row["difference_low"] > 0
        assert row["p"] < 0.05
    assert judged.loc["exp(-7t)", "difference_high"] < 0


def test_too_few_images_are_an_error():
    errors, labels = errors_with_the_class_at(WINDOW, images=2)
    with pytest.raises(ValueError, match="2 images are too few to fit weights on some"):
        judge_weights(complete(errors, GRID), labels, [0])
