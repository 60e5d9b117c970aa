"""The benchmarks' own arithmetic, and that the plain loop they compare with decides what the engine decides."""

import pytest
import torch

from bench import reference_loop
from bench.__main__ import page
from bench.profile import operators
from bench.rounds import compare, row
from bigain.classify import Protocol, classify_block
from bigain.schedule import Stages
from tests.test_classify import latents
from tests.tiny import TinyBackbone


def test_a_ratio_is_the_median_over_rounds_of_the_same_round_s_seconds():
    times = [{"a": 2.0, "b": 1.0}, {"a": 30.0, "b": 10.0}, {"a": 4.0, "b": 1.0}]
    found = row("x", "y", "b", "a", times)
    assert (found["seconds"], found["ratio"], found["rounds"]) == (1.0, 3.0, 3)
    assert found["low"] <= 3 <= found["high"]


def test_arms_take_turns_and_nobody_always_goes_first():
    calls = []
    compare("x", "y", {name: lambda name=name: calls.append(name) for name in "ab"}, rounds=3)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"


def test_the_page_holds_every_row():
    rows = [row("x", "case", arm, "a", [{"a": 2.0, "b": 1.0}]) for arm in "ab"]
    machine = {"device": "made up", "threads": 3, "torch": "0"}
    equal = [{"benchmark": "equal decisions", "case": "m", "equal": 4, "of": 5}]
    slow = [{"case": "m", "arm": "a", "operator": "aten::mm", "seconds": 1.5, "share": 0.75, "calls": 6}]
    parts = {"speed": rows, "decisions": equal, "profile": slow}
    text = page({"parts": {name: {"machine": machine, "rows": of} for name, of in parts.items()}})
    assert "| x | case | b | 1.000 | 2.00 | 2.00 to 2.00 | 1 |" in text
    assert "| m | 4 of 5 |" in text
    assert "| m | a | aten::mm | 1.50 | 75% | 6 |" in text
    assert text.count("made up, threads a process: 3") == 3


def test_a_profile_ranks_operators_by_their_own_time_and_loses_none():
    x = torch.ones(300, 300)
    found = operators(lambda: [(x @ x).relu() for _ in range(4)], on_gpu=False, shown=1)
    assert [row["operator"] for row in found] == ["aten::mm", "all others"]
    assert found[0]["calls"] == 4
    assert sum(row["share"] for row in found) == pytest.approx(1)
    assert found[0]["seconds"] > found[1]["seconds"] / 10 > 0


@pytest.mark.parametrize("family", ["unet", "dit"])
def test_the_plain_loop_runs_the_engine_s_trials(request, family):
    backbone = TinyBackbone(request.getfixturevalue(family), family)
    protocol = Protocol(Stages((2, 4), (3, 1)), seed=0, batch_size=24)
    given = (backbone, latents([4, 9]), [4, 9], backbone.conditions_of(6), protocol)
    plain = {(t.image, t.class_index, t.t, t.stage): t.error for t in reference_loop.classify(*given)}
    ours = {(t.image, t.class_index, t.t, t.stage): t.error for t in classify_block(*given, None)}
    assert plain.keys() == ours.keys()
    assert torch.tensor([abs(plain[key] - ours[key]) for key in ours]).max() < 1e-5
