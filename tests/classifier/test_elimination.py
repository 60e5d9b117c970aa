"""Elimination of classes: the bound's closed form, the order of trials, and runs equal to their replays."""

import numpy as np
import pandas as pd
import pytest

import bigain
from bigain.classifier.classify import ClassificationSettings, classify_images
from bigain.classifier.elimination import Elimination, standard_errors
from bigain.classifier.timesteps import Stages
from bigain.metrics.accuracy import decisions
from bigain.metrics.replay import by_elimination, by_stages, full_errors, in_full
from tests.helpers.methods import arguments_for
from tests.helpers.tiny import TinyBackbone, latents

DIFFERENCES = np.array([[1.0, 3.0, 5.0, 7.0]])  # standard deviation sqrt(20 / 3)


@pytest.mark.parametrize(("trials", "factor"), [(16, 3 / 4), (5, 1 / 5), (4, 0)])
def test_the_bound_is_z_standard_errors_with_the_finite_population_factor(trials, factor):
    assert Elimination(2, 2).bounds(DIFFERENCES, trials)[0] == pytest.approx(2 * np.sqrt(20 / 3 / 4 * factor))


def test_cantelli_s_levels_as_z():
    """The levels of earlier versions that the changelog lists: their bound was sqrt((1 - p) / p) standard errors."""
    z = [float(f"{np.sqrt((1 - p) / p):.3g}") for p in (0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.01)]
    assert z == [1, 1.22, 1.53, 2, 3, 4.36, 9.95]


def test_a_variance_counts_as_no_smaller_than_the_usual_one():
    steady, restless = [2.0, 2.0, 2.0, 2.2], [1.0, 3.0, 5.0, 7.0]
    errors = standard_errors(np.array([[0.0] * 4, steady, restless]))
    variances = np.var([steady, restless], axis=1, ddof=1)
    assert errors == pytest.approx(np.sqrt(np.array([variances.mean(), variances.mean(), variances[1]]) / 4))


def test_more_of_the_trials_seen_lowers_the_bound():
    """A mean difference of 1.4 standard errors is within 1.5 of them only while most trials are unseen."""
    differences = np.array([2.0, 0.0, 1.0, -0.2])
    errors = np.stack([np.zeros(4), differences])
    assert differences.mean() / standard_errors(errors)[1] == pytest.approx(1.4, abs=0.02)
    assert [Elimination(1.5, 4).survivors(errors, trials).tolist() for trials in (100, 8, 4)] == [
        [True, True],
        [True, False],
        [True, False],
    ]


def test_after_the_last_trial_only_ties_are_left():
    errors = np.array([[2.0, 1.0], [1.0, 2.0], [1.0, 2.1]])
    assert Elimination(100, 2).survivors(errors, 2).tolist() == [True, True, False]
    assert Elimination(100, 2).survivors(errors[:, :1], 1).tolist() == [False, True, True]


@pytest.mark.parametrize(("trials", "every"), [(20, 2), (20, 3), (7, 2), (2, 4), (1, 2), (64, 5)])
def test_stages_visit_the_grid_once(trials, every):
    stages = Elimination(3, every).timesteps(trials)
    assert sorted(t for stage in stages for t in stage) == Stages((trials,), (1,)).timesteps()[0]
    assert all(len(stage) >= min(every, trials) for stage in stages)


def test_the_first_trials_are_spread_over_all_timesteps():
    first = Elimination(3, 4).timesteps(16)[0]
    assert sorted(t // 250 for t in first) == [0, 1, 2, 3]


def test_the_leader_stays_and_a_clearly_worse_class_goes():
    noise = np.random.default_rng(1).normal(size=20)
    errors = np.stack([noise, noise + 5 + 0.1 * np.random.default_rng(2).normal(size=20), noise])
    assert Elimination(4, 2).survivors(errors, 40).tolist() == [True, False, True]


@pytest.mark.parametrize("bad", [(0.0, 2), (-1.0, 2), (np.inf, 2), (np.nan, 2), (2.0, 1)])
def test_an_invalid_schedule_is_refused(bad):
    with pytest.raises(ValueError, match="`z` has to be positive and finite, and `every` at least 2"):
        Elimination(*bad)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ((1, 2.5), r"Elimination\.every: 2\.5 is not a whole number"),
        (("1", 2), r"Elimination\.z: '1' is not a number"),
    ],
)
def test_a_schedule_of_other_types_is_refused(bad, message):
    with pytest.raises(TypeError, match=message):
        Elimination(*bad)


@pytest.mark.parametrize("method", ["none", "bigain_tm"])
@pytest.mark.parametrize("schedule", [Elimination(1.1, 2), Stages((2, 4, 8), (3, 2, 1))])
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
    eliminates = isinstance(schedule, Elimination)
    run_trials, predicted = run(Stages((8,), (1,)), schedule) if eliminates else run(schedule, None)
    replayed = (by_elimination if eliminates else by_stages)(errors, schedule)
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


def test_a_smaller_z_costs_fewer_predictions_and_a_large_one_changes_no_decision():
    rng = np.random.default_rng(0)
    errors = rng.normal(size=(30, 1, 16)) + rng.normal(scale=0.3, size=(30, 6, 16)) + np.arange(6)[:, None] / 4
    outcomes = [by_elimination(errors, Elimination(z, 2)) for z in (20, 3, 1)]
    spent = [outcome.predictions.sum() for outcome in outcomes]
    assert 30 * 6 * 16 >= spent[0] > spent[1] > spent[2]
    assert outcomes[0].predicted.tolist() == in_full(errors).predicted.tolist()
    assert in_full(errors).predictions.tolist() == [6 * 16] * 30


def test_a_run_of_a_single_trial_is_decided_by_it():
    errors = np.array([[[2.0], [1.0], [3.0]]])
    outcome = by_elimination(errors, Elimination(2, 2))
    assert (outcome.predicted.tolist(), outcome.predictions.tolist()) == ([1], [3])
