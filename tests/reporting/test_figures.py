"""The Pareto front, per-class changes, and figures of studies that have nothing to show."""

import numpy as np
import pandas as pd
import pytest

from bigain.methods.presets import METHODS
from bigain.reporting import style
from bigain.reporting.classes import _images, class_changes, write_class_changes
from bigain.reporting.frames import CellMetric
from bigain.reporting.pareto import front, places, significantly_better
from bigain.reporting.scores import Scores
from bigain.reporting.tradeoff import points, with_fronts, write_tradeoff

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


def cell(method, strength, hits, labels=(0, 0, 1, 1), seed=0):
    place = {"backbone": "u", "dataset": "x", "method": method, "strength": strength, "seed": seed}
    items = {"image": list(range(len(hits))), "acc@1": list(hits), "label": list(labels)}
    return {"cell": place, "items": items, "classes": ["cat", "dog"], "metrics": {}}


SCORES = Scores([cell("none", None, (1, 1, 1, 0)), cell("tome", 0.5, (1, 1, 0, 0))])


def test_every_preset_has_a_colour_and_a_marker():
    assert METHODS.keys() == style.COLOURS.keys() == style.MARKERS.keys()
    assert style.preset("bigain_tm@sa+mlp~score-l2_norm") == "bigain_tm"


def test_points_join_accuracy_operations_and_distance():
    cells = points(RESULTS, EFFICIENCY).set_index("method")
    assert cells.loc["tome", ["accuracy", "gflops", "distance"]].tolist() == [72, 8, 30]
    assert cells.loc["none", "gflops"] == 10
    assert pd.isna(cells.loc["none", "distance"])
    assert len(cells) == 2  # not the third, a variant


def test_the_pareto_front_without_errors():
    cost, accuracy = np.array([1, 2, 3, 3, 4]), np.array([50, 70, 60, 80, 80])
    assert front(cost, accuracy).tolist() == [True, True, False, True, False]


def test_places_on_the_pareto_front_with_errors_of_two_points():
    """Costs are exact; accuracies are told apart if they differ by more than two."""
    cost, accuracy = [1, 2, 3, 4, 4], [70, 60, 71, 80, 75]
    assert places(
        5,
        is_cheaper=lambda i, j: cost[i] < cost[j],
        is_no_dearer=lambda i, j: cost[i] <= cost[j],
        is_more_accurate=lambda i, j: accuracy[i] > accuracy[j] + 2,
    ) == ["sure", "off", "possible", "sure", "off"]


def test_a_point_on_the_front_of_two_uncertain_scores_is_never_surely_beaten_on_one_of_them_alone():
    """The second is surely worse in one score but not in the other, so that it may be on the front."""
    better_first, better_second = {(0, 1), (0, 2)}, {(0, 2)}
    nearer = lambda i, j: (i, j) in better_first  # noqa: E731
    assert places(3, nearer, nearer, lambda i, j: (i, j) in better_second) == ["sure", "possible", "off"]


def test_points_are_placed_by_paired_tests():
    """Of 100 images, ToMe loses 30 of the uncompressed model's hits, BiGain_TM one, at lower and lower operations."""
    arms = (("none", None, 80, 10.0), ("tome", 0.5, 50, 9.0), ("bigain_tm", 0.5, 79, 8.0))
    scored = [
        cell(method, strength, [int(k < hits) for k in range(100)], [0] * 100) for method, strength, hits, _ in arms
    ]
    columns = ["backbone", "dataset", "method", "strength", "gflops", "distance", "distance_name"]
    cells = pd.DataFrame([("u", "x", *arm[:2], arm[3], None, None) for arm in arms], columns=columns)
    placed = with_fronts(cells, Scores(scored))
    assert placed["front_gflops"].tolist() == ["possible", "off", "sure"]
    assert placed["front_distance"].isna().all()
    accuracies = [CellMetric("acc@1", "u", "x", *arm[:2]) for arm in arms]
    is_better = significantly_better(Scores(scored), accuracies)
    assert (is_better(0, 1), is_better(1, 0), is_better(0, 2)) == (True, False, False)


@pytest.mark.parametrize(
    ("results", "lines"),
    [
        (
            RESULTS,
            [
                "u,x,none,no compression,,none,80,78,82,10,,,possible,",
                "u,x,tome,ToMe,0.5,merge_ratio,72,70,74,8,30,fd,sure,sure",
            ],
        ),
        (RESULTS[RESULTS["metric"] == "fd"], []),
    ],
)
def test_the_tradeoff_is_drawn_the_same_every_time(results, lines, tmp_path):
    for name in ("first", "second"):
        files = [tmp_path / f"{name}.{suffix}" for suffix in ("pdf", "png", "csv")]
        write_tradeoff(results, SCORES, EFFICIENCY, *files)
    assert (tmp_path / "first.csv").read_text().splitlines()[1:] == lines
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    assert (tmp_path / "first.pdf").read_bytes() == (tmp_path / "second.pdf").read_bytes()


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


def test_class_changes_have_paired_intervals_if_the_class_has_ten_images():
    """Of ten cats four are lost; nine dogs are too few for an interval."""
    hits, labels = [1] * 19, [0] * 10 + [1] * 9
    scored = [cell("none", None, hits, labels), cell("tome", 0.5, [0] * 4 + hits[4:], labels)]
    changes = class_changes(scored).set_index("class")
    assert changes.loc["cat", "change"] == -40
    assert -75 < changes.loc["cat", "low"] < -40 < changes.loc["cat", "high"] < 0
    assert changes.loc["dog", ["low", "high"]].isna().all()


@pytest.mark.parametrize(("classes", "images"), [(0, 0), (2, 10), (2, 9), (60, 10)])
def test_class_changes_are_drawn_for_any_number_of_classes(classes, images, tmp_path):
    labels = [k for k in range(classes) for _ in range(images)]
    scored = [
        cell(method, strength, [k] * len(labels), labels) | {"classes": list(map(str, range(classes)))}
        for k, (method, strength) in enumerate((("none", None), ("bigain_tm", 0.5)) if classes else ())
    ]
    write_class_changes(scored, *(tmp_path / f"c.{suffix}" for suffix in ("pdf", "png", "csv")))
    lines = (tmp_path / "c.csv").read_text().splitlines()[1:]
    assert len(lines) == classes
    assert all(line.startswith("u,x,bigain_tm,BiGain_TM,0.5,merge_ratio,") for line in lines)
    assert all(f",{images},100,0,100," in line for line in lines)
    assert all(line.endswith(",,") == (images < 10) for line in lines)
    assert (tmp_path / "c.pdf").read_bytes().startswith(b"%PDF")


def test_the_figure_of_classes_says_which_are_left_out():
    changes = pd.DataFrame({"class": ["a", "b", "c"], "images": [12, 9, 20]})
    assert _images(changes) == "12 to 20 images per class; 1 of 3 classes left out, which have fewer than 10 images"
