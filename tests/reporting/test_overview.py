"""Table 1, from results and measurements."""

import pandas as pd

from bigain.reporting.overview import build, write_overview

RESULTS = pd.DataFrame(
    [
        ("u", "d", "none", None, "acc@1", 90.0, 85.0, 95.0),
        ("u", "d", "none", None, "fd", 10.0, 9.0, 11.0),
        ("u", "d", "tome", 0.5, "acc@1", 80.0, 70.0, 90.0),
        ("u", "d", "tome", 0.5, "acc@1", 70.0, 60.0, 80.0),
    ],
    columns=["backbone", "dataset", "method", "strength", "metric", "value", "low", "high"],
).assign(environment="torch 2 on cpu", n=100)
EFFICIENCY = pd.DataFrame(
    [("u", "tome", 0.5, 12.0), ("u", "none", None, 0.0)],
    columns=["backbone", "method", "strength", "saved_percent"],
)


def test_rows_are_sorted_by_operations_saved_and_seeds_are_averaged():
    (overview,) = build(RESULTS, EFFICIENCY)
    assert overview.columns == [("d", "acc@1"), ("d", "fd")]
    assert [(row.method.label, row.strength_label, row.saved) for row in overview.rows] == [
        ("no compression", "", 0.0),
        ("ToMe", "0.5", 12.0),
    ]
    accuracy, distance = overview.rows[1].scores
    assert (accuracy.value, accuracy.half_width) == (75.0, 10.0)
    assert distance.value is None


SPEC = {"study": "my_study", "seeds": [0, 1], "classification": {"map": ["per_image"]}}


def test_three_formats(tmp_path):
    files = [tmp_path / f"table1.{suffix}" for suffix in ("tex", "csv", "html")]
    write_overview(RESULTS, EFFICIENCY, SPEC, *files)
    tex, csv, html = (file.read_text() for file in files)
    assert r"ToMe & 0.5 & 12.0 & 75 & -- \\" in tex
    assert r"\texttt{my\_study}" in tex
    assert "Means over 2 seeds, with their standard deviation (sd)." in html
    assert "<th>ToMe</th><td>0.5</td><td>12.0</td><td>75 <small>&plusmn; 10 sd 7</small></td>" in html
    assert csv.splitlines() == [
        "backbone,dataset,metric,method,label,strength,strength_kind,value,low,high,sd_over_seeds,seeds",
        "u,,saved_percent,none,no compression,,none,0,,,,",
        "u,d,acc@1,none,no compression,,none,90,85,95,,1",
        "u,d,fd,none,no compression,,none,10,9,11,,1",
        "u,,saved_percent,tome,ToMe,0.5,merge_ratio,12,,,,",
        "u,d,acc@1,tome,ToMe,0.5,merge_ratio,75,65,85,7.071067812,2",
    ]


def test_what_a_perfect_generator_would_score_is_said_of_backbones_that_generate(tmp_path):
    files = [tmp_path / f"table1.{suffix}" for suffix in ("tex", "csv", "html")]
    perfect = RESULTS.tail(1).assign(metric="fd_perfect", value=17.0, low=15.0, high=19.0)
    other = RESULTS.assign(backbone="v")
    measured = pd.concat([EFFICIENCY, EFFICIENCY.assign(backbone="v")])
    write_overview(pd.concat([RESULTS, perfect, other]), measured, SPEC, *files)
    for text in (files[0].read_text(), files[2].read_text()):
        assert text.count("a perfect generator would score FD 17.0 with 100 images of d.") == 1
