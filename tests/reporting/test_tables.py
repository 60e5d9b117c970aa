"""A table from known numbers: what stands where, what is bold, what is a dash."""

import json
import re

import pandas as pd
import pytest

from bigain.reporting import names, tables
from bigain.reporting.figures import percent_change, write_figure_1
from bigain.reporting.plan import read_tables, table_names
from bigain.study.cells import Cell

TABLE = {
    "title": "t",
    "caption": "A caption with 5% & more",
    "families": ["unet"],
    "backbones": ["u"],
    "baselines": ["none"],
    "strength_kind": "merge_ratio",
    "methods": ["tome", "bigain_tm"],
    "delta": {"of": "bigain_tm", "against": "tome"},
}


def row(method, strength, metric, value, seed=0):
    kind = "none" if method == "none" else "merge_ratio"
    cell = {"task": "classification", "backbone": "u", "dataset": "d", "method": method, "seed": seed}
    numbers = {"value": value, "low": value - 2, "high": value + 4, "n": 10, "seconds": 1.0}
    return cell | {"strength_kind": kind, "strength": strength, "metric": metric} | numbers


RESULTS = pd.DataFrame(
    [
        row("none", None, "acc@1", 90.0),
        row("tome", 0.3, "acc@1", 80.0),
        row("tome", 0.3, "acc@1", 82.0, seed=1),
        row("bigain_tm", 0.3, "acc@1", 85.0),
        row("bigain_tm", 0.7, "acc@1", 70.0),
        row("none", None, "fd", 10.0),
        row("tome", 0.3, "fd", 12.0),
        row("bigain_tm", 0.3, "fd", 15.0),
    ]
)


def test_rows_columns_best_and_delta():
    strengths, (accuracy, distance) = tables.build(RESULTS, TABLE, {})
    assert strengths == [0.3, 0.7]
    baseline, tome, ours, delta = accuracy.rows
    assert [v.value for v in baseline.values] == [90, 90]
    assert [v.value for v in tome.values] == [81, None]  # the mean over seeds; no such cell
    assert [v.best for v in ours.values] == [True, True]
    assert tome.values[0].half_width == 3
    assert [v.value for v in delta.values] == [4, None]
    assert [r.values[0].best for r in distance.rows] == [False, True, False, False]  # lower is better


def test_the_papers_own_numbers_stand_in_the_same_places():
    printed = {("u", "d", "acc@1", "tome", 0.3): 79.0, ("u", "d", "acc@1", "bigain_tm", 0.3): 88.0}
    _, (accuracy, distance) = tables.build(RESULTS, TABLE, printed)
    _, tome, ours, delta = accuracy.rows
    assert (tome.values[0].printed, tome.values[0].difference) == (79, 2)
    assert (tome.values[1].printed, tome.values[1].difference) == (None, None)
    assert (delta.values[0].printed, delta.values[0].difference) == (9, -5)
    assert ours.values[0].best
    assert distance.rows[1].values[0].printed is None


def test_the_three_forms(tmp_path):
    results, data = tmp_path / "results.parquet", tmp_path / "tables.yaml"
    RESULTS.to_parquet(results)
    data.write_text(json.dumps({"table4": TABLE}))  # JSON is YAML
    spec = {
        "backbones": {"u": "unet"},
        "study": "my_study",
        "classification": {"map": ["per_image"]},
        "of_paper": False,
    }
    files = [tmp_path / f"table4.{suffix}" for suffix in ("tex", "csv", "html")]
    tables.write_table_files(results, data, "table4", spec, *files)
    tex, csv, html = (file.read_text() for file in files)
    assert r"5\% \& more" in tex
    assert r"\texttt{my\_study}" in tex
    assert re.search(r"ToMe & 81\.00\{.*\} & -- \\\\", tex)
    assert r"BiGain\textsubscript{TM} - ToMe & $+4.00$ & -- \\" in tex
    assert "<td>+4.00</td><td>–</td>" in html
    assert pd.read_csv(files[1])["value"].isna().sum() == 5
    assert csv.endswith("\n")


def test_escapes():
    assert names.latex("BiGain_TM: 5% & a_b") == r"BiGain\textsubscript{TM}: 5\% \& a\_b"
    assert names.html("a<b & BiGain_TD") == "a&lt;b &amp; BiGain<sub>TD</sub>"


def test_percent_change():
    changes = percent_change(RESULTS).set_index(["method", "metric", "strength", "seed"])["value"]
    assert changes["bigain_tm", "fd", 0.3, 0] == pytest.approx(50)
    assert changes["bigain_tm", "acc@1", 0.7, 0] == pytest.approx(-100 * 20 / 90)


@pytest.mark.parametrize("methods", [["none"], ["none", "tome", "bigain_tm"]])
def test_figure_1_of_a_study_with_and_without_compressed_cells(tmp_path, methods):
    RESULTS[RESULTS["method"].isin(methods)].to_parquet(tmp_path / "r.parquet")
    write_figure_1(tmp_path / "r.parquet", tmp_path / "f.pdf", tmp_path / "f.png")
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "f.png").stat().st_size > 1000


def test_a_study_has_the_tables_it_has_cells_for(root, tmp_path):
    cells = [Cell("classification", "u", "d", "none", None, 0), Cell("classification", "u", "d", "tome", 0.5, 0)]
    assert table_names(root / "config/tables.yaml", cells, {"u": {"family": "unet"}}) == ["table4"]
    (tmp_path / "t.yaml").write_text("table4: {methods: [tom]}")
    with pytest.raises(ValueError, match=r"table4: unknown method 'tom'\. Did you mean 'tome'\?"):
        read_tables(tmp_path / "t.yaml")
