"""Strengths that depend on the timestep: windows, linear strengths, their means, and their spelling in ids."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch

import bigain
from bigain.methods.ids import method_of
from bigain.methods.presets import METHODS
from bigain.methods.schedules import NothingReducedError, Schedule, even
from bigain.study.spec_parts import method_part

TM, TODO = METHODS["bigain_tm"], METHODS["todo"]


def test_a_window_includes_both_of_its_ends():
    schedule = Schedule(TM, 0.5, (900, 200))
    at = [schedule.at(t) for t in (999, 901, 900.5, 900, 550, 200, 199.9, 0)]
    assert at == [
        None,
        None,
        None,
        *[0.5] * 3,
        None,
        None,
    ]
    assert schedule.strengths == {0.5: pytest.approx(0.701)}
    assert [(t, pytest.approx(share)) for t, share in schedule.visits()] == [(100, 0.2), (550, 0.701), (950, 0.099)]


def test_a_linear_ratio_goes_from_noise_to_image_and_stops_there():
    schedule = Schedule(TM, bigain.Linear(0.7, 0.3))
    assert [schedule.at(t) for t in (999, 0, 1000, 499.5)] == [0.7, 0.3, 0.7, pytest.approx(0.5)]
    visits = schedule.visits()
    assert len(visits) == 10
    assert sum(share for _, share in visits) == pytest.approx(1)
    assert sum(share * schedule.at(t) for t, share in visits) == pytest.approx(0.5, abs=1e-3)


def test_a_linear_factor_is_rounded_to_whole_factors():
    schedule = Schedule(TODO, bigain.Linear(4, 2))
    assert [schedule.at(t) for t in (999, 800, 600, 400, 200, 0)] == [4, 4, 3, 3, 2, 2]
    assert [share for _, share in schedule.visits()] == pytest.approx([0.25, 0.5, 0.25], abs=1e-3)


def test_a_function_gives_the_strength_at_t_and_names_a_wrong_value_with_its_timestep():
    schedule = Schedule(TM, lambda t: 0.75 if t > 500 else 0.25)
    assert schedule.strengths == {0.25: pytest.approx(0.501), 0.75: pytest.approx(0.499)}
    with pytest.raises(ValueError, match=r"strength 1\.5 is not allowed.*at t = 3"):
        Schedule(TM, lambda t: t / 2).at(3)


@pytest.mark.parametrize("number", [np.float32, np.float64, np.array, torch.tensor, Fraction])
def test_a_function_may_return_a_number_of_any_type(number):
    assert Schedule(TM, lambda t: number(0.25)).at(3) == 0.25
    assert Schedule(TODO, lambda t: number(2)).at(3) == 2
    assert Schedule(method_of("bigain_tm~ratio_times-2to1"), lambda t: number(0.25)).at(999) == 0.5
    assert type(Schedule(TODO, lambda t: number(2)).at(3)) is int


def test_means_are_those_of_the_timesteps_that_are_used():
    schedule = Schedule(TM, 0.5, (900, 200))
    assert schedule.tokens_left(16, 16) == pytest.approx((256 - 0.701 * 128,) * 2)
    assert [(t, pytest.approx(share)) for t, share in schedule.visits(even(range(100, 1000, 200)))] == [
        (100, 0.2),
        (700, 0.8),
    ]
    assert Schedule(TM, 0.5).tokens_left(16, 16) == (128, 128)


def test_what_depends_on_t_is_part_of_an_id():
    method = method_of("bigain_tm~timesteps-900to200~ratio_times-1.2to0.8")
    schedule = Schedule(method, 0.5, method.timesteps)
    assert method.id == "bigain_tm~ratio_times-1.2to0.8~timesteps-900to200"
    assert [schedule.at(t) for t in (950, 499.5, 100)] == [None, pytest.approx(0.5), None]
    assert pickle.loads(pickle.dumps(schedule)) == schedule


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bigain_tm~timesteps-200to900", "go from high .noise. to low"),
        ("bigain_tm~timesteps-900", "first and the last timestep, as in 900to200"),
        ("bigain_tm~timesteps-1900to200", "at most 1000"),
        ("bigain_tm~ratio_times-1", "at t = 999 and at t = 0"),
        ("bigain_tm~ratio_times-1to-1", "at least 0"),
        ("todo~ratio_times-1to0", "unknown option 'ratio_times'"),
    ],
)
def test_a_wrong_spelling_says_what_is_allowed(name, message):
    with pytest.raises(ValueError, match=message):
        method_of(name)


def test_specs_of_methods_that_do_not_depend_on_t_are_as_before():
    assert not {"timesteps", "ratio_times"} & set(method_part("bigain_tm"))
    assert method_part("bigain_tm~timesteps-900to200")["timesteps"] == "(900.0, 200.0)"


def is_without_effect(method, strength, grids):
    try:
        Schedule(method_of(method), strength).check_effect(grids)
    except NothingReducedError:
        return True
    return False


@pytest.mark.parametrize(
    ("method", "strength", "grids", "smallest"),
    [
        ("bigain_tm", 0.003, [(16, 16)], "0.004"),  # 1 / 256, rounded up
        ("bigain_tm", bigain.Linear(0.003, 0.0), [(16, 16), (8, 8)], "0.004"),
        ("bigain_tm_block", 0.011, [(16, 16)], "0.0118"),  # 3 / 256: a cell of four tokens leaves one
        ("toma", 0.06, [(8, 8)], "0.0625"),  # 1 / 16: of a tile of 4x4
    ],
)
def test_a_strength_that_reduces_nothing_is_refused_with_the_smallest_that_does(method, strength, grids, smallest):
    with pytest.raises(
        NothingReducedError, match=f"removes no token of .* grids; {smallest} is the smallest that does"
    ):
        Schedule(method_of(method), strength).check_effect(grids)
    assert not is_without_effect(method, float(smallest), grids)


@pytest.mark.parametrize(
    ("method", "strength"),
    [("tome", 0.0), ("todo", 1), ("todo", bigain.Linear(1.2, 1)), ("tome", bigain.Linear(0.5, 0.0)), ("ca_tome", 1.0)],
)
def test_no_compression_can_be_asked_for_and_a_part_of_the_timesteps_is_enough(method, strength):
    assert not is_without_effect(method, strength, [(16, 16), (8, 8)])


def test_one_grid_that_is_reduced_is_enough():
    assert not is_without_effect("bigain_tm", 0.01, [(16, 16), (8, 8)])
    assert is_without_effect("bigain_tm", 0.01, [(8, 8)])
