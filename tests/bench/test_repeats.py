"""Results that are computed again must be the same bits; what differs is counted."""

import math
from dataclasses import replace
from multiprocessing import get_context

import pytest
import torch

from bench.repeats import Size, at_once, repeats
from bench.repeats.classification import blocks, resumed
from bench.repeats.images import Subject, difference

TINY = Size(images=7, classes=2, dtypes=("float32",), methods=("bigain_td", "dip_go", "mosaicdiff"), batch=4, steps=2)
CASE = {"case": "m", "arm": "none"}


def test_blocks_of_a_resumed_job_are_all_but_the_first():
    (left,) = resumed(6).values()
    assert left == [slice(2, 4), slice(4, 6)]
    assert blocks(6, 1) == [slice(0, 2), *left]


def test_a_difference_is_relative_to_the_largest_value():
    first = torch.tensor([0.0, 1.0, -4.0])
    assert difference(CASE, "again", first, first.clone()) == {
        **CASE, "how": "again", "different": 0, "of": 3, "largest": 0.0
    }  # fmt: skip
    compared = difference(CASE, "again", first, torch.tensor([0.5, 1.0, -3.0]))
    assert (compared["different"], compared["largest"]) == (2, 0.25)


def test_a_value_that_is_not_a_number_differs():
    compared = difference(CASE, "again", torch.tensor([1.0, math.nan]), torch.tensor([1.0, math.nan]))
    assert (compared["different"], compared["of"]) == (1, 2)


@pytest.fixture(scope="module")
def tiny(root):
    return Subject.load("dit", TINY, "cpu")


@pytest.mark.system
def test_structural_methods_latents_features_and_two_jobs_are_compared(root, monkeypatch):
    monkeypatch.setattr("bench.repeats.MODELS", {"dit": None})
    rows = list(repeats(TINY))
    ways = {(row["arm"], row["how"]) for row in rows}
    for arm in TINY.methods:
        assert (arm, "latents sampled again") in ways
        assert (arm, "resumed after the first block") in ways
        assert (arm, "again") in ways
    assert ("features", "again") in ways
    assert {(arm, how) for arm, how in ways if "at once" in how} == {
        (arm, f"by job {number} of 2 at once") for arm in ("none", "bigain_tm") for number in (1, 2)
    }
    assert all(row["different"] == 0 < row["of"] for row in rows if "cut a block" not in row["how"])


def test_a_job_that_fails_beside_another_is_told_in_a_line(tiny, monkeypatch):
    """In forks, which need not import everything first."""
    monkeypatch.setattr(at_once, "get_context", lambda kind: get_context("fork"))
    with pytest.raises(at_once.JobFailed, match=r"^one of 2 jobs at once failed: .*no_such"):
        at_once.spawned([tiny], replace(TINY, dtypes=("no_such",)))


def test_a_job_that_does_not_answer_is_ended(tiny, monkeypatch):
    monkeypatch.setattr(at_once, "PATIENCE", 0.5)
    with pytest.raises(at_once.JobFailed, match=r"did not answer within 0\.5 s"):
        at_once.spawned([tiny], TINY)
