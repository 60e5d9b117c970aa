"""Descent of a label tree: closed-form errors where it must win or lose, runs equal to replays, wrong trees refused."""

import numpy as np
import pandas as pd
import pytest

import bigain
from bigain.classifier.classify import ClassificationSettings, Trial, classify_images
from bigain.classifier.descent import Descent
from bigain.classifier.elimination import Elimination
from bigain.classifier.engine import batches_by_mode
from bigain.classifier.timesteps import Stages
from bigain.metrics.accuracy import decisions
from bigain.metrics.replay import by_elimination, by_stages, full_errors
from tests.helpers.methods import arguments_for
from tests.helpers.models import tiny_unet
from tests.helpers.tiny import TinyBackbone, latents

TWO_LEVELS = (((0, 1, 2, 3), (4, 5, 6)), ((0, 1), (2, 3), (4, 5, 6)))
ALL_IN_ONE = ((tuple(range(7)),),)
STAGES = Stages((2, 8), (3, 1))
SCHEDULES = [(by_stages, STAGES), (by_elimination, Elimination(2, 2))]


IMAGES = [3, 8, 5]


def classified(network, method="none", **settings) -> list[Trial]:
    """Classify a group of images among seven classes."""
    backbone = TinyBackbone(network, "unet")
    options = {"stages": Stages((8,), (1,)), "seed": 0, "batch_size": 8} | settings
    with bigain.compressed(network, method, **arguments_for(method)) as at:
        chosen = ClassificationSettings(**options)
        return classify_images(backbone, latents(IMAGES), IMAGES, backbone.conditions_of(7), chosen, at)


def table(trials: list[Trial]) -> pd.DataFrame:
    return pd.DataFrame([vars(trial) for trial in trials]).rename(columns={"class_index": "class"})


def constant(means: list[float], trials: int = 8) -> np.ndarray:
    """Errors of one image whose every trial is the mean of its class, plus what all classes share."""
    return (np.array(means)[:, None] + np.linspace(1, 2, trials))[None]


def random_errors(seed: int, images: int = 40, classes: int = 7) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(images, 1, 8)) + rng.normal(size=(images, classes, 8)) + rng.normal(size=(images, classes, 1))
    )


def test_a_descent_evaluates_representatives_then_the_kept_groups_once():
    """Level 1: classes 0 and 4; level 2: 2 as well, 0 being known; then class 1, of which 0 wins by a constant."""
    outcome = by_stages(constant([0, 1, 2, 3, 4, 5, 6]), STAGES, Descent(TWO_LEVELS, keep=1))
    assert outcome.predicted.tolist() == [0]
    assert outcome.predictions.tolist() == [2 * 4 + 6 * 2]  # {0, 4, 2, 1} at 2 trials, then {0, 1} at 6
    flat = by_stages(constant([0, 1, 2, 3, 4, 5, 6]), STAGES)
    assert flat.predictions.tolist() == [2 * 7 + 6 * 3]


def test_a_group_whose_only_representative_is_poor_is_lost_and_a_second_one_or_a_second_group_recovers_it():
    errors = constant([3, 9, 9, 9, 5, 0, 9])  # class 5 is best, and 4, which stands for its group, behind class 0
    assert by_stages(errors, STAGES, Descent(TWO_LEVELS, keep=1)).predicted.tolist() == [0]
    assert by_stages(errors, STAGES, Descent(TWO_LEVELS, keep=1, representatives=2)).predicted.tolist() == [5]
    assert by_stages(errors, STAGES, Descent(TWO_LEVELS, keep=2)).predicted.tolist() == [5]


def test_z_keeps_a_group_that_few_trials_leave_undecided_and_drops_one_that_is_surely_behind():
    groups = (((0, 1), (2, 3), (4,)),)
    differences = {0: [0, 0, 0, 0], 2: [2, 0, 1, -0.2], 4: [9, 9, 9, 9.2]}
    descent = Descent(groups, z=1.0)
    variances = np.var([differences[2], differences[4]], axis=1, ddof=1)
    assert 0.7 / np.sqrt(variances[0] / 4) == pytest.approx(1.38, abs=0.01)
    assert descent.survivors(0, range(5), differences) == [0, 1]
    assert Descent(groups, z=1.5).survivors(0, range(5), differences) == [0, 1, 2, 3]
    assert Descent(groups, z=40).survivors(0, range(5), differences) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("replay", "schedule"), SCHEDULES)
@pytest.mark.parametrize(
    "descent", [Descent(ALL_IN_ONE, keep=1), Descent(ALL_IN_ONE, z=0.1), Descent(TWO_LEVELS, keep=3)]
)
def test_without_a_group_to_drop_schedules_are_those_without_a_tree(replay, schedule, descent):
    errors = random_errors(0)
    with_tree, flat = replay(errors, schedule, descent), replay(errors, schedule)
    assert with_tree.predicted.tolist() == flat.predicted.tolist()
    assert with_tree.predictions.tolist() == flat.predictions.tolist()


@pytest.mark.parametrize(("replay", "schedule"), SCHEDULES)
def test_a_kept_group_is_decided_as_if_its_classes_were_all(replay, schedule):
    errors = random_errors(1)
    errors[:, 3:] += 50.0
    descent = Descent((((2, 0, 1), (3, 4), (5, 6)),), keep=1)
    with_tree, alone = replay(errors, schedule, descent), replay(errors[:, :3], schedule)
    assert with_tree.predicted.tolist() == alone.predicted.tolist()
    assert with_tree.predictions.tolist() == (alone.predictions + 2 * 2).tolist()  # and two representatives


def test_the_class_with_the_lowest_error_is_left_whatever_the_order_of_groups():
    """Class 1 stands for a group on the first level and not on the second."""
    descent = Descent((((1, 0), (2, 3)), ((0, 1), (2,), (3,))), keep=1)
    errors = {1: [0.0, 1.0], 2: [1.0, 2.0], 0: [7.0, 8.0]}
    assert descent.representatives_of(0, range(4)) == [1, 2]
    assert descent.survivors(0, range(4), errors) == [0, 1]
    deeper = Descent((((1, 0, 2), (3,)), ((0, 1), (2,), (3,))), keep=1)
    assert deeper.survivors(0, range(4), {1: [0.0, 1.0], 3: [2.0, 2.0]}) == [0, 1, 2]
    assert deeper.representatives_of(1, [0, 1, 2]) == [0, 2]
    assert deeper.survivors(1, [0, 1, 2], {1: [0.0, 1.0], 3: [2.0, 2.0], 0: [9.0, 9.0], 2: [1.0, 1.0]}) == [0, 1]


def test_ties_between_groups_go_to_the_lowest_class():
    assert Descent((((2, 3), (0, 1)),), keep=1).survivors(0, range(4), {2: [1.0], 0: [1.0]}) == [0, 1]


@pytest.fixture(scope="module")
def full():
    return table(classified(tiny_unet()))


@pytest.mark.parametrize("descent", [Descent(TWO_LEVELS, keep=1, representatives=2), Descent(TWO_LEVELS, z=0.5)])
@pytest.mark.parametrize(("replay", "schedule"), SCHEDULES)
def test_a_run_decides_and_costs_the_same_as_its_replay_from_full_errors(unet, full, replay, schedule, descent):
    """Its errors are those of the full evaluation, no trial twice, by stage, image, t and class."""
    errors, ids, _ = full_errors(full)
    chosen = {"elimination": schedule} if isinstance(schedule, Elimination) else {"stages": schedule}
    trials = classified(unet, descent=descent, **chosen)
    run, replayed = table(trials), replay(errors, schedule, descent)
    assert decisions(run).reindex(ids).tolist() == replayed.predicted.tolist()
    assert run.groupby("image").size().reindex(ids).tolist() == replayed.predictions.tolist()
    assert len(run) < len(full)
    both = run.merge(full, on=["image", "class", "t"], suffixes=("", "_full"), validate="one_to_one")
    assert len(both) == len(run)
    assert np.allclose(both["error"], both["error_full"], rtol=1e-5)
    order = [(trial.stage, IMAGES.index(trial.image)) for trial in trials]
    assert order == sorted(order)


@pytest.mark.parametrize("method", ["none", "bigain_tm"])
def test_a_tree_of_one_group_computes_what_a_run_without_a_tree_does_bit_for_bit(unet, method):
    flat = classified(unet, method, stages=STAGES)
    assert classified(unet, method, stages=STAGES, descent=Descent(ALL_IN_ONE, keep=1)) == flat


def test_groups_of_single_classes_that_representatives_decide_go_on_to_the_next_stage(unet, full):
    """Nothing is left to evaluate in the first stage, and two classes in the second."""
    errors, ids, _ = full_errors(full)
    descent = Descent((tuple((c,) for c in range(7)),), keep=2)
    run = table(classified(unet, stages=STAGES, descent=descent))
    assert run.groupby(["stage", "image"]).size().tolist() == [2 * 7] * 3 + [6 * 2] * 3
    assert decisions(run).reindex(ids).tolist() == by_stages(errors, Stages((2, 8), (2, 1))).predicted.tolist()


def test_no_error_is_computed_twice(unet, monkeypatch):
    rows = []
    record = lambda new, *rest: rows.extend(new) or batches_by_mode(new, *rest)  # noqa: E731
    monkeypatch.setattr("bigain.classifier.classify.batches_by_mode", record)
    trials = classified(unet, stages=STAGES, descent=Descent(TWO_LEVELS, keep=1))
    assert len(rows) == len(set(rows)) == len(trials)


def test_a_run_refuses_a_tree_of_other_classes(unet):
    with pytest.raises(ValueError, match="the label tree has 2 classes, and the classifier 7"):
        classified(unet, descent=Descent((((0,), (1,)),), keep=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of them has to be set"),
        ({"keep": 1, "z": 2.0}, "exactly one of them has to be set"),
        ({"keep": 0}, "each has to be at least 1"),
        ({"keep": 1, "representatives": 0}, "each has to be at least 1"),
        ({"z": 0.0}, "z has to be positive and finite"),
        ({"z": np.inf}, "z has to be positive and finite"),
        ({"keep": 1, "levels": ()}, "needs at least one level"),
        ({"keep": 1, "levels": (((0, 1), (1,)),)}, "level 1 of the label tree has to hold each class from 0 to 2 once"),
        ({"keep": 1, "levels": (((0, 1), ()),)}, "in groups that are not empty"),
        ({"keep": 1, "levels": (((0, 1), (2,)), ((0,), (1,)))}, "level 2 of the label tree has to hold"),
        ({"keep": 1, "levels": (((0, 1), (2,)), ((0,), (1, 2)))}, "level 2 of the label tree joins classes"),
    ],
)
def test_an_invalid_descent_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Descent(**{"levels": TWO_LEVELS, **options})


@pytest.mark.parametrize("options", [{"keep": 1.5}, {"z": "2"}, {"keep": 1, "representatives": "1"}])
def test_a_descent_of_other_types_is_refused(options):
    with pytest.raises(TypeError, match=r"Descent\.\w+: .* is not a (whole )?number"):
        Descent(TWO_LEVELS, **options)


def test_a_descent_of_other_classes_or_with_z_after_a_single_trial_is_refused():
    errors = random_errors(2)
    with pytest.raises(ValueError, match="the label tree has 2 classes, and the classifier 7"):
        by_stages(errors, STAGES, Descent((((0,), (1,)),), keep=1))
    with pytest.raises(ValueError, match="z = 2 needs at least 2 trials in the first stage; it has 1"):
        by_stages(errors, Stages((1, 8), (3, 1)), Descent(TWO_LEVELS, z=2.0))
