"""Elimination by paired tests: the bounds' closed forms, the order of trials, and runs equal to their replays."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bigain
from bigain.classifier.classify import ClassificationSettings, classify_images
from bigain.classifier.elimination import TESTS, Elimination, cantelli, empirical_bernstein
from bigain.classifier.timesteps import Stages
from bigain.metrics.accuracy import decisions
from bigain.metrics.replay import by_stages, by_test, full_errors
from tests.helpers.methods import arguments_for
from tests.helpers.tiny import TinyBackbone, latents

DIFFERENCES = np.array([[1.0, 3.0, 5.0, 7.0]])  # standard deviation sqrt(20 / 3), range 6


def test_cantelli_s_bound_in_closed_form():
    assert cantelli(DIFFERENCES, 0.2)[0] == pytest.approx(np.sqrt(20 / 3 / 4) * 2)


def test_the_empirical_bernstein_bound_in_closed_form():
    expected = np.sqrt(2 * (20 / 3) * np.log(20) / 4) + 7 * 6 * np.log(20) / (3 * 3)
    assert empirical_bernstein(DIFFERENCES, 0.1)[0] == pytest.approx(expected)


def test_a_variance_counts_as_no_smaller_than_the_usual_one():
    steady, restless = [2.0, 2.0, 2.0, 2.2], [1.0, 3.0, 5.0, 7.0]
    bounds = cantelli(np.array([[0.0] * 4, steady, restless]), 0.5)
    variances = np.var([steady, restless], axis=1, ddof=1)
    assert bounds == pytest.approx(np.sqrt(np.array([variances.mean(), variances.mean(), variances[1]]) / 4))


@pytest.mark.parametrize("test", TESTS)
def test_bounds_hold_at_their_level(test):
    """For differences of mean 0, the mean exceeds the bound no more often than its level."""
    draws = stats.skewnorm(4).rvs((4000, 12), random_state=np.random.default_rng(0))
    centred = draws - stats.skewnorm(4).mean()
    assert (centred.mean(axis=1) > TESTS[test](centred, 0.2)).mean() <= 0.2


@pytest.mark.parametrize(("trials", "every"), [(20, 2), (20, 3), (7, 2), (2, 4), (1, 2), (64, 5)])
def test_stages_visit_the_grid_once(trials, every):
    stages = Elimination("cantelli", 0.1, every).timesteps(trials)
    assert sorted(t for stage in stages for t in stage) == Stages((trials,), (1,)).timesteps()[0]
    assert all(len(stage) >= min(every, trials) for stage in stages)


def test_the_first_trials_are_spread_over_all_timesteps():
    first = Elimination("cantelli", 0.1, 4).timesteps(16)[0]
    assert sorted(t // 250 for t in first) == [0, 1, 2, 3]


def test_the_leader_stays_and_a_clearly_worse_class_goes():
    noise = np.random.default_rng(1).normal(size=20)
    errors = np.stack([noise, noise + 5 + 0.1 * np.random.default_rng(2).normal(size=20), noise])
    for test in TESTS:
        assert Elimination(test, 0.05, 2).survivors(errors).tolist() == [True, False, True]


@pytest.mark.parametrize("bad", [("t_test", 0.1, 2), ("cantelli", 0.0, 2), ("cantelli", 1.0, 2), ("cantelli", 0.1, 1)])
def test_an_invalid_schedule_is_refused(bad):
    with pytest.raises(
        ValueError,
        match="`test` has to be cantelli or empirical_bernstein, `level` between 0 and 1, and `every` at least 2",
    ):
        Elimination(*bad)


@pytest.mark.parametrize("method", ["none", "bigain_tm"])
@pytest.mark.parametrize("schedule", [Elimination("cantelli", 0.45, 2), Stages((2, 4, 8), (3, 2, 1))])
def test_a_run_decides_and_costs_the_same_as_its_replay_from_full_errors(unet, method, schedule):
    """Also with a token method: noise, plans and errors of a row do not depend on which others survive."""
    backbone, images = TinyBackbone(unet, "unet"), [3, 8, 5]

    def run(stages, elimination):
        settings = ClassificationSettings(stages, seed=0, batch_size=8, elimination=elimination)
        with bigain.compressed(unet, method, **arguments_for(method)) as at:
            trials = classify_images(backbone, latents(images), images, backbone.conditions_of(5), settings, at)
        frame = pd.DataFrame([vars(trial) for trial in trials]).rename(columns={"class_index": "class"})
        return frame, decisions(frame).reindex(sorted(images))

    full, _ = run(Stages((8,), (1,)), None)
    errors, ids, timesteps = full_errors(full)
    assert (ids, len(timesteps)) == (sorted(images), 8)
    is_test = isinstance(schedule, Elimination)
    run_trials, predicted = run(Stages((8,), (1,)), schedule) if is_test else run(schedule, None)
    replayed = (by_test if is_test else by_stages)(errors, schedule)
    assert predicted.tolist() == replayed.predicted.tolist()
    assert run_trials.groupby("image").size().tolist() == replayed.predictions.tolist()
    assert len(run_trials) < len(full)


def test_a_staged_run_cannot_be_replayed(unet):
    frame = pd.DataFrame({"image": 1, "class": [0, 1, 0], "t": [250, 750, 250], "error": 1.0})
    with pytest.raises(ValueError, match="image 1 lacks classes at some timesteps"):
        full_errors(frame)
    with pytest.raises(ValueError, match="are not the grid of 2 midpoints"):
        full_errors(frame.assign(t=[250, 751, 250]))
    with pytest.raises(ValueError, match="do not end with the run's 4 trials"):
        by_stages(np.zeros((1, 2, 4)), Stages((1, 2), (2, 1)))


def test_a_larger_error_level_costs_fewer_predictions():
    rng = np.random.default_rng(0)
    errors = rng.normal(size=(30, 1, 16)) + rng.normal(scale=0.3, size=(30, 6, 16)) + np.arange(6)[:, None] / 4
    spent = [by_test(errors, Elimination("cantelli", level, 2)).predictions.sum() for level in (0.01, 0.1, 0.4)]
    assert 30 * 6 * 16 >= spent[0] > spent[1] > spent[2]
