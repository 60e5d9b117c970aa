"""The Pareto front, per-class changes, and figures of studies that have nothing to show."""

import numpy as np
import pandas as pd
import pytest

from bigain.methods.presets import METHODS
from bigain.reporting import style
from bigain.reporting.classes import class_changes, write_class_changes
from bigain.reporting.tradeoff import pareto, points, write_tradeoff

EFFICIENCY = pd.DataFrame(
    [
        {"backbone": "u", "method": "none", "strength": None, "gflops": 10.0},
        {"backbone": "u", "method": "tome", "strength": 0.5, "gflops": 8.0},
        {"backbone": "u", "method": "bigain_tm_block~rule-quantile", "strength": 0.5, "gflops": None},
    ]
)


def row(method, strength, metric, value, seed=0):
    cell = {"backbone": "u", "dataset": "x", "method": method, "strength": strength, "seed": seed}
    return cell | {"metric": metric, "value": value, "low": value - 2, "high": value + 2}


RESULTS = pd.DataFrame(
    [
        row("none", None, "acc@1", 80),
        row("tome", 0.5, "acc@1", 70),
        row("tome", 0.5, "acc@1", 74, seed=1),
        row("tome", 0.5, "fd", 30),
        row("bigain_tm_block~rule-quantile", 0.5, "acc@1", 60),
    ]
)


def test_every_preset_has_a_colour_and_a_marker():
    assert METHODS.keys() == style.COLOURS.keys() == style.MARKERS.keys()
    assert style.preset("bigain_tm@sa+mlp~score-l2_norm") == "bigain_tm"


def test_points_join_accuracy_operations_and_distance():
    cells = points(RESULTS, EFFICIENCY).set_index("method")
    assert cells.loc["tome", ["accuracy", "gflops", "distance"]].tolist() == [72, 8, 30]
    assert cells.loc["none", "gflops"] == 10
    assert pd.isna(cells.loc["none", "distance"])
    assert len(cells) == 2  # not the third, a variant


def test_the_pareto_front():
    cost, accuracy = np.array([1, 2, 3, 3, 4]), np.array([50, 70, 60, 80, 80])
    assert pareto(cost, accuracy).tolist() == [True, True, False, True, False]


@pytest.mark.parametrize(
    ("results", "lines"),
    [
        (
            RESULTS,
            ["u,x,none,no compression,,none,80,78,82,10,,", "u,x,tome,ToMe,0.5,merge_ratio,72,70,74,8,30,fd"],
        ),
        (RESULTS[RESULTS["metric"] == "fd"], []),
    ],
)
def test_the_tradeoff_is_drawn_the_same_every_time(results, lines, tmp_path):
    for name in ("first", "second"):
        files = [tmp_path / f"{name}.{suffix}" for suffix in ("pdf", "png", "csv")]
        write_tradeoff(results, EFFICIENCY, *files)
    assert (tmp_path / "first.csv").read_text().splitlines()[1:] == lines
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    assert (tmp_path / "first.pdf").read_bytes() == (tmp_path / "second.pdf").read_bytes()


def cell(method, strength, hits, labels=(0, 0, 1, 1), seed=0):
    place = {"backbone": "u", "dataset": "x", "method": method, "strength": strength, "seed": seed}
    items = {"image": list(range(len(hits))), "acc@1": list(hits), "label": list(labels)}
    return {"cell": place, "items": items, "classes": ["cat", "dog"], "metrics": {}}


def test_class_changes_are_at_the_highest_strength():
    scored = [
        cell("none", None, (1, 1, 1, 0)),
        cell("tome", 0.3, (1, 1, 1, 1)),
        cell("tome", 0.7, (0, 0, 1, 0)),
        cell("tome", 0.7, (1, 0, 1, 1), seed=1),
        cell("sito", 0.7, (0, 0, 0, 0)),
    ]
    changes = class_changes(scored).set_index("class")
    assert changes["change"].to_dict() == {"cat": -75, "dog": 25}
    assert set(changes["strength"]) == {0.7}
    assert changes["accuracy"].to_dict() == {"cat": 25, "dog": 75}
    assert changes["accuracy_uncompressed"].to_dict() == {"cat": 100, "dog": 50}
    assert changes["images"].tolist() == [2, 2]


@pytest.mark.parametrize("classes", [0, 2, 60])
def test_class_changes_are_drawn_for_any_number_of_classes(classes, tmp_path):
    scored = [
        cell(method, strength, [k] * classes, range(classes)) | {"classes": list(map(str, range(classes)))}
        for k, (method, strength) in enumerate((("none", None), ("bigain_tm", 0.5)) if classes else ())
    ]
    write_class_changes(scored, *(tmp_path / f"c.{suffix}" for suffix in ("pdf", "png", "csv")))
    lines = (tmp_path / "c.csv").read_text().splitlines()[1:]
    assert len(lines) == classes
    assert all(line.startswith("u,x,bigain_tm,BiGain_TM,0.5,merge_ratio,") for line in lines)
    assert all(line.endswith(",1,100,0,100") for line in lines)
    assert (tmp_path / "c.pdf").read_bytes().startswith(b"%PDF")
