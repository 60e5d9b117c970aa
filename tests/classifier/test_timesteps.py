"""The schedules of Table 10, and invalid ones."""

import pytest

from bigain.classifier.timesteps import Stages, midpoints


def test_the_paper_s_two_stages():
    first, second = Stages((5, 20), (5, 1)).timesteps()
    assert first == [125, 325, 525, 725, 925]
    assert sorted(first + second) == list(range(25, 1000, 50))


def test_three_stages_do_not_nest():
    new = Stages((5, 20, 100), (50, 10, 1)).timesteps()
    assert [len(stage) for stage in new] == [5, 20, 75]
    assert new[0] == [105, 305, 505, 705, 905]
    assert len({t for stage in new for t in stage}) == 100


@pytest.mark.parametrize(("classes", "evaluations"), [(37, 260), (80, 475), (100, 575)])
def test_evaluations_per_image(classes, evaluations):
    assert Stages((5, 20), (5, 1)).evaluations(classes) == evaluations


def test_evaluations_of_imagenet():
    assert Stages((5, 20, 100), (50, 10, 1)).evaluations(1000) == 6750


def test_random_timesteps_are_keyed_by_image_and_never_repeat():
    stages = Stages((5, 20), (5, 1))
    first, second = stages.random_timesteps(0, 1), stages.random_timesteps(0, 2)
    assert first == stages.random_timesteps(0, 1) != second
    assert [len(stage) for stage in first] == [5, 15]
    assert len({t for stage in first for t in stage}) == 20


@pytest.mark.parametrize(
    ("targets", "keep"),
    [((5, 20), (5,)), ((20, 5), (5, 1)), ((5, 20), (1, 5)), ((5, 20), (5, 2)), ((), ()), ((3, 20), (5, 1))],
)
def test_impossible_stages(targets, keep):
    with pytest.raises(ValueError, match="stages"):
        Stages(targets, keep)


@pytest.mark.parametrize("count", [*range(1, 100), 100, 111, 125, 333, 500, 1000])
def test_a_grid_covers_at_least_nine_tenths_of_the_timesteps(count):
    grid = midpoints(count)
    assert len(set(grid)) == count
    assert grid[0] < 1000 / count
    assert 900 < grid[-1] + 1000 / (2 * count) <= 1001


@pytest.mark.parametrize(("count", "divisor"), [(600, 500), (400, 500), (150, 125), (300, 250)])
def test_a_grid_that_leaves_out_a_tenth_names_a_number_of_trials_that_does_not(count, divisor):
    with pytest.raises(ValueError, match=rf"^{count} trials: their grid ends at t = .* such as {divisor}$"):
        Stages((count,), (1,)).timesteps()
    assert len(Stages((count,), (1,)).random_timesteps(0, 1)[0]) == count


def test_there_are_no_more_trials_than_timesteps():
    stages = Stages((1001,), (1,))
    for timesteps in (stages.timesteps, lambda: stages.random_timesteps(0, 1)):
        with pytest.raises(ValueError, match="1001 trials: there are 1000 timesteps"):
            timesteps()
