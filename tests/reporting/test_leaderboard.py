"""The leaderboard: budgets of operations and of seconds, ranks, paired differences, and its figure."""

import csv

import pandas as pd
import pytest

from bigain.methods.presets import METHODS
from bigain.metrics.significance import paired
from bigain.reporting.contents import FEWEST_RANKED, has_leaderboard
from bigain.reporting.forest import write_forest
from bigain.reporting.leaderboard import build, with_differences, write_leaderboard
from bigain.reporting.scores import Scores
from tests.helpers.scored import cell, generated, hits

ARMS = {  # right answers of 200, operations saved in percent, speed-up
    ("none", None): (180, 0.0, 1.0),
    ("tome", 0.7): (150, 14.0, 0.9),
    ("bigain_tm", 0.7): (160, 13.5, 1.04),
    ("todo", 4.0): (170, 15.0, 1.3),
    ("avg_pool", 2.0): (175, 12.0, 1.2),
    ("ca_tome", 0.7): (120, None, 1.15),
}
CELLS = [cell(*arm, hits(right)) for arm, (right, *_) in ARMS.items()]
RESULTS = pd.DataFrame(
    [
        {"backbone": "u", "dataset": "x", "method": method, "strength": strength, "metric": "acc@1"}
        | {"value": right / 2, "low": right / 2 - 5, "high": right / 2 + 5, "n": 200, "environment": "torch 2 on cpu"}
        for (method, strength), (right, *_) in ARMS.items()
    ]
)
MEASURED = pd.DataFrame(
    [
        {"backbone": "u", "method": method, "strength": strength, "gflops": None if saved is None else 2 - saved / 50}
        | {"saved_percent": saved, "seconds": 0.8 / speedup, "speedup": speedup, "batch": 8, "device": "a CPU"}
        for (method, strength), (_, saved, speedup) in ARMS.items()
    ]
)
SPEC = {"study": "s", "seeds": [0]}


def board():
    (only,) = build(RESULTS, MEASURED)
    return with_differences(only, Scores(CELLS))


def test_budgets_span_at_most_a_point_and_a_half_and_the_most_accurate_comes_first():
    assert [(budget, [entry.method for entry in entries]) for budget, entries in board().by_budget()] == [
        ("uncompressed", ["none"]),
        ("12.0 to 13.5% of operations saved", ["avg_pool", "bigain_tm"]),
        ("14.0 to 15.0% of operations saved", ["todo", "tome"]),
        ("operations not counted", ["ca_tome"]),
    ]


def test_differences_are_paired_and_a_method_is_not_compared_with_itself():
    entries = {entry.method: entry for entry in board().entries}
    todo, tome = entries["todo"], entries["tome"]
    expected = paired((hits(170).astype(float) - hits(150)) * 1.0)
    assert (todo.over["tome"].value, todo.over["tome"].low, todo.over["tome"].high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    assert todo.over["none"].value == pytest.approx(-5.0)
    assert todo.over["best"].value is None
    assert tome.over["tome"].value is None
    assert tome.over["best"].value == pytest.approx(-10.0)
    assert entries["avg_pool"].over["tome"].value is None  # there is no ToMe at its budget
    assert entries["none"].over["none"].value is None


def test_distances_are_compared_block_by_block():
    cells = [generated("none", None, 50.0, 2.0), generated("tome", 0.7, 60.0, 3.0), generated("todo", 4.0, 55.0, 3.0)]
    rows = RESULTS[RESULTS["method"].isin(["none", "tome", "todo"])].assign(metric="fd", value=50.0)
    (only,) = build(rows, MEASURED)
    entries = {entry.method: entry for entry in with_differences(only, Scores(cells)).entries}
    assert only.metric == ""
    assert only.distance == "fd"
    assert entries["todo"].distance_over["tome"].value == pytest.approx(-5.0)
    assert entries["tome"].distance_over["none"].value == pytest.approx(10.0)
    assert entries["tome"].distance_over["none"].low < 10 < entries["tome"].distance_over["none"].high


def test_the_second_ranking_is_by_measured_seconds():
    assert [(budget, [entry.method for entry in entries]) for budget, entries in board().by_seconds()] == [
        ("slower than the uncompressed model", ["tome"]),
        ("0 to 10% less time", ["bigain_tm"]),
        ("10 to 20% less time", ["avg_pool", "ca_tome"]),
        ("20 to 30% less time", ["todo"]),
    ]
    todo = next(entry for entry in board().entries if entry.method == "todo")
    assert todo.seconds == pytest.approx(0.8 / 1.3 / 8)
    assert todo.time_saved == pytest.approx(100 * 0.3 / 1.3)


def test_cells_that_were_not_timed_are_ranked_by_operations_alone():
    (only,) = build(RESULTS, MEASURED[MEASURED["method"] != "todo"])
    todo = next(entry for entry in only.entries if entry.method == "todo")
    assert todo.budget == "operations not counted"
    assert todo.seconds is None
    assert "todo" not in [entry.method for _, entries in only.by_seconds() for entry in entries]


def test_a_backbone_without_an_uncompressed_cell_has_no_leaderboard():
    assert build(RESULTS[RESULTS["method"] != "none"], MEASURED) == []


def test_a_study_has_one_if_it_compares_enough_presets_on_a_backbone_and_data_set():
    compressing = [id for id, method in METHODS.items() if method.acts_on != "nothing"]
    enough = compressing[:FEWEST_RANKED]
    assert has_leaderboard(("u", "x", method) for method in enough)
    assert not has_leaderboard(("u", "x", method) for method in ["none", *enough[1:], f"{enough[1]}~clamp-on"])
    assert not has_leaderboard((f"u{k % 2}", "x", method) for k, method in enumerate(enough))


def test_three_formats_and_the_figure(tmp_path):
    files = [tmp_path / f"leaderboard.{suffix}" for suffix in ("tex", "csv", "html")]
    write_leaderboard(RESULTS, Scores(CELLS), MEASURED, SPEC, *files)
    rows = {row["method"]: row for row in csv.DictReader(files[1].open())}
    assert rows["todo"]["score_minus_tome"] == "10"
    assert rows["ca_tome"]["gflops"] == ""
    assert (rows["tome"]["deterministic"], rows["bigain_tm"]["deterministic"]) == ("False", "True")
    html, tex = files[2].read_text(), files[0].read_text()
    assert html.index("<th>ToDo</th>") < html.index("<th>ToMe</th>")
    assert r"\emph{14.0 to 15.0\% of operations saved}" in tex
    assert r"BiGain\textsubscript{TM} & 0.7 & 13.5 & 96.15 & 80" in tex

    write_forest(RESULTS, Scores(CELLS), MEASURED, *(tmp_path / f"forest.{form}" for form in ("pdf", "png", "csv")))
    bars = list(csv.DictReader((tmp_path / "forest.csv").open()))
    assert [bar["method"] for bar in bars] == ["avg_pool", "bigain_tm", "todo", "tome", "ca_tome"]
    assert [float(bar["change"]) for bar in bars] == [-2.5, -10.0, -5.0, -15.0, -30.0]
    assert (tmp_path / "forest.png").stat().st_size > 10_000
