"""What a speed-up's row says about its goal and its peer in the same run, and arms that could not be timed."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import compiled, device_tests, tables
from bench.gpu import headlines
from bench.rounds import runnable
from bench.verdicts import verdict
from tests.helpers.models import tiny_unet

CASE = {"benchmark": "SDPA attention", "case": "sd2, 64x64", "baseline": "none", "seconds": 0.1, "rounds": 7}


def timed(arm, ratio, **more):
    return {**CASE, "arm": arm, "low": ratio - 0.02, "ratio": ratio, "high": ratio + 0.02, **more}


@pytest.mark.parametrize(
    ("row", "peer", "printed"),
    [
        (timed("bigain_tm", 1.2, goal=1.1), timed("tomesd", 1.0), "faster than tomesd (1.20 x), goal reached"),
        (timed("bigain_tm", 0.9, goal=1.1), timed("tomesd", 1.0), "slower than tomesd (0.90 x), goal missed"),
        (timed("bigain_td", 1.01), timed("todo", 1.0), "not clearly faster or slower than todo (1.01 x)"),
        (timed("bigain_td", 1.2), timed("tomesd", 1.0), ""),
        (timed("bigain_tm", 1.2), timed("tomesd", 1.0, case="sd2, 96x96"), ""),
        (
            timed("bigain_tm", 1.2, goal=1.1),
            {**CASE, "arm": "tomesd", "note": "no"},
            "tomesd was not timed, goal reached",
        ),
        (timed("todo", 1.2), timed("tomesd", 1.0), ""),
        (timed("tomesd", 1.2, graph_breaks=3), timed("todo", 1.0, graph_breaks=1), "3 graph breaks"),
        (timed("none", 1.0, graph_breaks=1), timed("todo", 1.0), "1 graph break"),
    ],
)
def test_a_row_is_compared_with_its_peer_in_the_same_case_and_its_goal(row, peer, printed):
    assert verdict(row, [row, peer]) == printed


def test_tables_and_headlines_say_it():
    rows = [
        timed("none", 1.0),
        timed("bigain_tm", 1.2, bound=1.3, goal=1.1),
        timed("tomesd", 1.0, bound=1.3),
        timed("bigain_tm", 1.0, bound=1.2, goal=1.1, case="sd2, 32x32"),
    ]
    text = tables.bounded(rows)
    assert text[0].endswith("| bound | goal | in this run |")
    assert text[3].endswith("| 1.30 | 1.10 | faster than tomesd (1.20 x), goal reached |")
    assert text[4].endswith("| 1.30 |  |  |")
    assert {line.count("|") for line in text if line} == {10}
    assert headlines.attention(rows) == (
        "64x64: bigain_tm 1.20 (bound 1.30, faster than tomesd (1.20 x), goal reached); 1 of 2 goals reached"
    )


def test_an_arm_that_cannot_run_has_a_note_and_the_others_run():
    def fails():
        raise RuntimeError("no such kernel\nat all")

    arms, notes = runnable("b", "c", {"none": lambda: int, "tomesd": lambda: fails, "todo": fails, "sito": lambda: str})
    assert list(arms) == ["none", "sito"]
    note = "RuntimeError: no such kernel"
    assert notes == [{"benchmark": "b", "case": "c", "arm": arm, "note": note} for arm in ("tomesd", "todo")]
    with pytest.raises(RuntimeError, match="no such kernel"):
        runnable("b", "c", {"none": fails, "todo": lambda: int})


def arm(name, run=int, graph_breaks=0):
    return SimpleNamespace(name=name, run=run, graph_breaks=graph_breaks)


def test_compiled_arms_tell_their_graph_breaks():
    arms = [arm("none"), arm("tomesd", graph_breaks=4)]
    rows = list(compiled.timed_in_turns(arms, "none", "c", 64, 1))
    assert [(row["arm"], row["graph_breaks"], row.get("bound")) for row in rows] == [
        ("none", 0, None),
        ("tomesd", 4, 1.16),
    ]


def test_compiled_arms_without_a_baseline_say_so():
    (row,) = compiled.timed_in_turns([arm("bigain_tm")], "none", "c", 64, 1)
    assert (row["arm"], row["note"]) == ("bigain_tm", "compiled, but none was not: nothing to compare with")


def test_an_arm_that_ends_while_it_is_timed_costs_one_size():
    def ends():
        raise RuntimeError("tomesd: its process ended (-9)")

    (row,) = compiled.timed_in_turns([arm("none"), arm("tomesd", ends)], "none", "c", 64, 1)
    assert (row["arm"], row["note"]) == ("all", "tomesd: its process ended (-9)")


@pytest.mark.system
def test_a_merging_method_compiles_into_one_graph_and_tomesd_is_reported(tmp_path):
    model = {"architecture": str(tmp_path / "tiny.json"), "device": "cpu", "dtype": "float32"}
    Path(model["architecture"]).write_text(tiny_unet(sample_size=16).to_json_string())
    names = ("none", "bigain_tm", "tomesd")
    rows = {row["arm"]: row for row in compiled.compiled_attention(8, model, 240, names, "eager", rounds=1)}
    assert (rows["none"]["graph_breaks"], rows["bigain_tm"]["graph_breaks"]) == (0, 0)
    assert rows["tomesd"]["graph_breaks"] > 0


@pytest.mark.system
def test_tests_that_are_stopped_leave_the_outcomes_of_those_that_ran(tmp_path):
    file = tmp_path / "test_slow.py"
    file.write_text("import time\ndef test_a(): pass\ndef test_b(): assert 0\ndef test_c(): time.sleep(300)\n")
    report = device_tests.device_tests((str(file),), 20)
    rows = [next(report), next(report)]
    with pytest.raises(device_tests.TestsFailed, match=r"1 of 2 tests failed, stopped after 20 s"):
        next(report)
    assert (rows[0]["passed"], rows[0]["failed"]) == (1, 1)
    assert rows[1]["case"] == "failed: test_b"
