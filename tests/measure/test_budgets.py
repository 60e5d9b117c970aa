"""Strengths at equal operations: the counted table's own strengths are found again by what they save."""

import csv

import pytest

from bigain.measure.budgets import nearest_strength
from bigain.measure.flops import architecture, prompt_tokens
from tests.helpers.repository import ROOT

SITES = {"levels": None, "blocks": (1, 2, 3, 4), "metric_site": None}


@pytest.fixture(scope="module")
def counted():
    """Return the operations of mini_mmdit, which reads 40 tokens of a prompt, by method and strength."""
    rows = csv.DictReader((ROOT / "bigain/study/flops.csv").open(encoding="utf-8"))
    return {(row["method"], row["strength"]): float(row["total"]) for row in rows if row["backbone"] == "mini_mmdit"}


@pytest.mark.parametrize(
    ("method", "strength"), [("todo", 2), pytest.param("bigain_tm", 0.5, marks=pytest.mark.system)]
)
def test_a_strength_is_found_by_what_it_saves_at_the_models_own_prompt_length(counted, method, strength):
    saved = 100 * (1 - counted[method, f"{float(strength)}"] / counted["none", ""])
    folder = str(ROOT / "resources/mini-mmdit")
    model = architecture(folder)
    matched = nearest_strength(model, method, saved, SITES, prompt_tokens(folder, model))
    assert matched.strength == strength
    assert matched.saved_percent == pytest.approx(saved, abs=0.2)


def test_operations_that_the_strength_does_not_tell_have_no_budget():
    model = architecture(str(ROOT / "resources/mini-dit"))
    for method in ("dip_go", "ca_tome"):
        with pytest.raises(ValueError, match=f"{method}: how many operations it saves is not counted"):
            nearest_strength(model, method, 10, SITES)
