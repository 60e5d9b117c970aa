"""Strengths at equal operations: the counted table's own strengths are found again by what they save."""

import csv
from types import SimpleNamespace

import pytest

from bigain.measure import budgets
from bigain.measure.budgets import nearest_strength
from bigain.measure.flops import architecture, prompt_tokens
from bigain.methods.schedules import NothingReducedError
from tests.helpers.repository import ROOT

SITES = {"levels": None, "blocks": (1, 2, 3, 4), "metric_site": None}


@pytest.fixture(scope="module")
def counted():
    """Return the operations of mini_mmdit, which reads 40 tokens of a prompt, by method and strength."""
    rows = csv.DictReader((ROOT / "bigain/study/flops.csv").open(encoding="utf-8"))
    return {(row["method"], row["strength"]): float(row["total"]) for row in rows if row["backbone"] == "mini_mmdit"}


@pytest.mark.parametrize(
    ("method", "budget", "strength", "saved"),
    [
        ("tome", 20, 0.5, 20),
        ("tome", 20.3, 0.51, 20.4),
        ("tome", 90, 0.75, 30),
        ("todo", 31, 3, 30),
        ("todo", 90, 31, 60),
    ],
)
def test_the_nearest_strength_that_the_grid_reaches_is_returned_at_the_side_and_prompt_of_the_caller(
    monkeypatch, method, budget, strength, saved
):
    """Of operations that fall by 40 per merge ratio, up to 0.75, or by 15 per downsample factor above 1, up to 60."""
    asked = set()

    def count(model, method_id, side, tokens, ratio=0.0, factor=1, **sites):
        asked.add((side, tokens))
        if ratio > 0.75 or factor > side:
            raise ValueError("out of reach")
        return SimpleNamespace(total=100 - 40 * ratio - min(15 * (factor - 1), 60))

    monkeypatch.setattr(budgets, "count", count)
    matched = nearest_strength(None, method, budget, SITES, side=31, tokens=7)
    assert matched == (strength, pytest.approx(saved))
    assert asked == {(31, 7)}


def test_strengths_that_remove_no_token_save_nothing(monkeypatch):
    def count(model, method_id, side, tokens, ratio=0.0, **sites):
        if 0 < ratio < 0.6:
            raise NothingReducedError
        return SimpleNamespace(total=100 - 40 * ratio)

    monkeypatch.setattr(budgets, "count", count)
    assert nearest_strength(None, "tome", 26, SITES, side=2, tokens=7).strength == 0.65


@pytest.mark.system
@pytest.mark.parametrize(("method", "strength"), [("todo", 2), ("bigain_tm", 0.5)])
def test_a_strength_is_found_by_what_it_saves_at_the_models_own_prompt_length(counted, method, strength):
    saved = 100 * (1 - counted[method, f"{float(strength)}"] / counted["none", ""])
    folder = str(ROOT / "resources/mini-mmdit")
    model = architecture(folder)
    matched = nearest_strength(model, method, saved, SITES, tokens=prompt_tokens(folder, model))
    assert matched.strength == strength
    assert matched.saved_percent == pytest.approx(saved, abs=0.2)


def test_operations_that_the_strength_does_not_tell_have_no_budget():
    model = architecture(str(ROOT / "resources/mini-dit"))
    for method in ("dip_go", "ca_tome"):
        with pytest.raises(ValueError, match=f"{method}: how many operations it saves is not counted"):
            nearest_strength(model, method, 10, SITES)
