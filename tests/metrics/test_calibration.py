"""Probabilities, their temperature and weights over t, from errors with known answers."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from bigain.metrics.accuracy import decisions
from bigain.metrics.calibration import (
    fit_temperature,
    negative_log_likelihood,
    paired_differences,
    probabilities,
    reliability,
)
from bigain.metrics.timestep_weights import (
    WEIGHTS,
    PiecewiseLinear,
    class_indices,
    fit_weights,
    of_x_0,
    predicted,
    weighted_means,
    weights_at,
)
from bigain.metrics.trial_arrays import trial_arrays
from tests.helpers.trial_tables import complete, run


def random_errors(images=40, classes=5, trials=8, seed=0):
    return np.random.default_rng(seed).normal(1, 0.1, (images, classes, trials))


def test_differences_of_a_complete_run_are_those_of_mean_errors():
    errors = random_errors()
    means = errors.mean(axis=2)
    arrays = trial_arrays(complete(errors))
    assert np.allclose(weighted_means(arrays), means)
    assert np.allclose(paired_differences(arrays), means - means.min(axis=1, keepdims=True))
    assert (predicted(arrays) == means.argmin(axis=1)).all()


def test_a_class_that_was_eliminated_is_compared_on_the_trials_that_it_has():
    """Its mean over all of its few trials, which are hard ones here, is no lower than that of the winner over all."""
    errors = np.array([[[1.0, 0.1, 0.1], [1.2, 9.0, 9.0], [1.1, 0.2, 0.4]]])
    arrays = trial_arrays(run(errors, [0, 1, 1], {0: [[0, 1, 2]], 1: [[0, 2]]}))
    assert predicted(arrays).tolist() == [0]
    assert np.allclose(paired_differences(arrays), [[0, 0.2, (0.1 + 0.1 + 0.3) / 3]])
    weights = PiecewiseLinear((0.0, 0.025, 0.075, 1.0), (2.0, 2.0, 1.0, 1.0))  # 2, 1, 1 at the three timesteps
    assert np.allclose(paired_differences(arrays, weights), [[0, 0.2, (0.2 + 0.1 + 0.3) / 4]])


def test_no_eliminated_class_is_more_probable_than_the_predicted_one():
    """Weights that the elimination did not use may prefer it on the trials that it has."""
    errors = np.array([[[1.0, 2.0, 0.1], [0.5, 2.7, 9.0], [1.1, 2.1, 0.4]]])
    arrays = trial_arrays(run(errors, [0, 0, 1], {0: [[0, 1, 2]], 1: [[0, 2]]}))
    weights = PiecewiseLinear((0.025, 0.075, 0.125), (5.0, 0.1, 1.0))
    assert predicted(arrays, weights).tolist() == [0]
    assert paired_differences(arrays, weights)[0].tolist()[:2] == [0.0, 0.0]


@pytest.mark.parametrize("weights", ["uniform", "exp(-7t)"])
def test_a_stored_run_replays_the_decisions_of_a_run_without_elimination_among_its_finalists(weights):
    errors = random_errors()
    stages = [0] * 4 + [1] * 4
    kept = np.sort(errors[..., :4].mean(axis=2).argsort(axis=1)[:, :3], axis=1)
    eliminated = run(errors, stages, {0: [list(range(5))] * 40, 1: kept.tolist()})
    replayed = predicted(trial_arrays(eliminated), weights)
    w = WEIGHTS[weights](np.array(range(25, 425, 50)) / 1000)
    means = (errors * w).sum(axis=2) / w.sum()
    assert (replayed == [rows[means[i, rows].argmin()] for i, rows in enumerate(kept)]).all()
    if weights == "uniform":
        assert (replayed == decisions(eliminated)).all()


def test_a_known_temperature_is_recovered():
    """Labels are drawn from the probabilities at T = 0.02."""
    rng = np.random.default_rng(1)
    means = rng.normal(1, 0.05, (20_000, 4))
    differences = means - means.min(axis=1, keepdims=True)
    probability = softmax(-differences / 0.02, axis=1)
    right = (rng.random((20_000, 1)) > probability.cumsum(axis=1)).sum(axis=1).clip(max=3)
    temperature = fit_temperature(differences, right)
    assert temperature == pytest.approx(0.02, rel=0.03)
    assert negative_log_likelihood(differences, right, temperature) <= min(
        negative_log_likelihood(differences, right, temperature * factor) for factor in (0.9, 1.1)
    )
    assert reliability(probabilities(differences, temperature), right).ece < 0.02
    assert reliability(probabilities(differences, 1.0), right).ece > 0.2


def test_a_temperature_that_nothing_determines_is_an_error():
    differences = np.array([[0.0, 0.1], [0.2, 0.0]])
    with pytest.raises(ValueError, match="all 2 images are classified correctly, so that no temperature above 0"):
        fit_temperature(differences, np.array([0, 1]))
    with pytest.raises(ValueError, match="no lower than those of the others"):
        fit_temperature(differences, np.array([1, 0]))


def test_the_ece_in_closed_form():
    probability = np.array([[0.95, 0.05], [0.95, 0.05], [0.6, 0.4], [0.55, 0.45]])
    curve = reliability(probability, np.array([0, 1, 0, 0]), bins=2)
    assert curve.bins["images"].tolist() == [4]
    assert curve.ece == pytest.approx(abs(3 / 4 - (0.95 + 0.95 + 0.6 + 0.55) / 4))
    curve = reliability(probability, np.array([0, 1, 0, 0]), bins=10)
    assert curve.bins["images"].tolist() == [2, 2]  # (0.5, 0.6] and (0.9, 1]
    assert curve.ece == pytest.approx(0.5 * abs(1 - 0.575) + 0.5 * abs(0.5 - 0.95))


def test_fitted_weights_find_the_timesteps_that_carry_the_class():
    """Only t above 0.7 tells the right class apart; elsewhere the noise of the errors is larger than there."""
    rng = np.random.default_rng(2)
    t = list(range(25, 1000, 50))
    right = rng.integers(5, size=200)
    errors = rng.normal(1, 0.1, (200, 5, 20))
    late = np.array(t) > 700
    errors[..., late] = 1 + (errors[..., late] - 1) / 4
    errors[np.arange(200), right] -= 0.03 * late
    trials = complete(errors, t)
    labels = dict(enumerate(right.tolist()))
    fitted = fit_weights(trials, labels)
    assert np.mean(weights_at(fitted, np.array(t, float))) == pytest.approx(1)
    assert fitted(np.array([0.9])) > 5 * fitted(np.array([0.2]))
    arrays = trial_arrays(trials)
    share = {w: (predicted(arrays, w) == right).mean() for w in ("uniform", fitted)}
    assert share[fitted] > share["uniform"] + 0.2
    order = np.r_[::4, np.delete(range(20), np.s_[::4])]  # of the timesteps: five in a first stage
    kept = np.sort(errors[..., ::4].mean(axis=2).argsort(axis=1)[:, :3], axis=1)
    stages = {0: [list(range(5))] * 200, 1: kept.tolist()}
    eliminated = run(errors[..., order], [0] * 5 + [1] * 15, stages, [t[m] for m in order])
    from_eliminated = fit_weights(eliminated, labels)
    assert from_eliminated(np.array([0.9])) > 5 * from_eliminated(np.array([0.2]))


def test_weights_are_not_fitted_to_labels_that_they_cannot_explain():
    errors = random_errors(classes=2)
    behind = np.array([[0], [5.0]])
    worst = {i: int(label) for i, label in enumerate((errors + behind).mean(axis=2).argmax(axis=1))}
    with pytest.raises(ValueError, match="no weights explain the labels better than chance"):
        fit_weights(complete(errors + behind), worst)


def test_weights_of_x_0_errors():
    """||x_0 - x_0_theta||^2 = (1 - alpha_bar) / alpha_bar ||eps - eps_theta||^2 at the same x_t."""
    alphas_bar = np.linspace(0.99, 0.01, 1000)
    weights = of_x_0("exp(-7t)", alphas_bar)
    alpha_bar = alphas_bar[[100, 900]]
    expected = np.exp([-0.7, -6.3]) * (1 - alpha_bar) / alpha_bar
    assert np.allclose(weights_at(weights, np.array([100.0, 900.0])), expected)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("cosine", "unknown weights 'cosine'; allowed are uniform"),
        (lambda t: t - 0.5, "have to be finite, not negative and not all zero at 25.0, 75.0"),
        (lambda t: 0 * t, "not all zero"),
        (lambda t: np.where(t > 0.3, 1.0, 0.0), "image 0, class 1: weights .* are zero at all of its trials"),
    ],
)
def test_weights_that_are_none(weights, message):
    errors = random_errors(images=1, classes=2)
    arrays = trial_arrays(run(errors, [0] * 4 + [1] * 4, {0: [[0, 1]], 1: [[0]]}))
    with pytest.raises(ValueError, match=message):
        weighted_means(arrays, weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="t"), "errors need the columns image, class, t, stage and error; t missing"),
        (lambda f: f.iloc[:0], "all rows missing"),
        (lambda f: pd.concat([f, f.iloc[:1]]), "image 0, class 0, t 25 occurs twice"),
        (lambda f: f.assign(error=np.nan), "not finite"),
    ],
)
def test_damaged_errors_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        trial_arrays(change(complete(random_errors(images=2))))


def test_images_keep_their_order_and_labels_are_checked():
    trials = complete(random_errors(images=2)).assign(image=lambda f: 7 - 3 * f["image"])
    arrays = trial_arrays(trials)
    assert arrays.images == [7, 4]
    assert class_indices(arrays, {4: 1, 7: 2}).tolist() == [2, 1]
    with pytest.raises(ValueError, match="image 4 of the errors has no label"):
        class_indices(arrays, {7: 0})
    with pytest.raises(ValueError, match="image 7: its label 9 is not one of 0, 1, 2, 3, 4"):
        class_indices(arrays, {7: 9, 4: 0})
