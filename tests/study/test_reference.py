"""config/reference.yaml: every method within a point of its budget of counted operations, counted again."""

from __future__ import annotations

from pathlib import Path

import pytest

from bigain.cli.study import merged_config
from bigain.methods.ids import method_of
from bigain.methods.presets import METHODS
from bigain.study.study import Study
from tests.helpers.repository import ROOT

BUDGETS = {  # percent of the uncompressed model's operations
    "mini_unet": {"light": 6.0, "middle": 12.0, "strong": 14.5},
    "mini_dit": {"light": 10.5, "middle": 21.1, "strong": 26.9},
    "mini_mmdit": {"middle": 19.9, "strong": 26.5},
}
TOLERANCE = 1.0  # points
MATCHED = ("tokens", "keys_values")


@pytest.fixture(scope="module")
def config():
    return merged_config([ROOT / "config/reference.yaml"])


def arms(config):
    """Return the token methods that are matched, with their strengths, by backbone and budget."""
    matched = {}
    for entry in config["cells"]:
        for method in map(method_of, entry["methods"]):
            if method.acts_on in MATCHED and not method.depends_on_image:
                for strength in entry["strengths"][method.strength_kind]:
                    matched.setdefault((entry["backbone"], entry["group"]), {})[method.id, strength] = None
    return matched


def test_every_method_of_the_package_is_compared_on_every_model(config):
    cells = Study(config).cells
    left_out = {
        "mini_unet": {"pixart_kv"},
        "mini_dit": set(),
        "mini_mmdit": {"best_plan", "ca_tome", "dip_go", "mosaicdiff"},
        "classification": {"importance_tm"},
        "generation": set(),
    }
    methods = {id for id, method in METHODS.items() if method.acts_on != "nothing"}
    for task in ("classification", "generation"):
        for backbone in BUDGETS:
            run = {cell.method for cell in cells if (cell.task, cell.backbone) == (task, backbone)}
            assert methods - run == left_out[backbone] | left_out[task]


def test_a_method_has_one_strength_per_budget_and_both_tasks_have_the_same(config):
    for backbone in BUDGETS:
        for budget in BUDGETS[backbone]:
            of_budget = [e for e in config["cells"] if (e["backbone"], e["group"]) == (backbone, budget)]
            by_task = {"classification": [], "generation": []}
            for entry in of_budget:
                methods = [method for method in entry["methods"] if method != "importance_tm"]
                by_task[entry["task"]] += [(method, str(entry["strengths"])) for method in methods]
            assert by_task["classification"] == by_task["generation"]
            methods = [method for method, _ in by_task["generation"]]
            assert len(methods) == len(set(methods))


@pytest.mark.system
def test_every_strength_saves_within_a_point_of_its_budget(config):
    from bigain.measure.flops import architecture, count, prompt_tokens
    from bigain.methods.ids import strength_of

    for (backbone, budget), of_budget in arms(config).items():
        settings = config["backbones"][backbone]
        folder = str(Path(ROOT, settings["path"]))
        model = architecture(folder)
        tokens = prompt_tokens(folder, model)
        blocks = tuple(settings["blocks"]) if settings.get("blocks") else None
        uncompressed = count(model, "none", tokens=tokens).total
        for method, strength in of_budget:
            counted = count(model, method, tokens=tokens, blocks=blocks, **strength_of(method, strength)).total
            saved = 100 * (1 - counted / uncompressed)
            assert saved == pytest.approx(BUDGETS[backbone][budget], abs=TOLERANCE), (backbone, method, strength)
