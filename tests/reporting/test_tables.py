"""Tables of known numbers: places, bold values, dashes."""

import json
import re

import pandas as pd
import pytest

from bigain.core.columns import columns_of, csv_text
from bigain.methods.ids import SCORE_NAMES
from bigain.reporting import names, protocol, table_files, tables
from bigain.reporting.bias import bias_note
from bigain.reporting.contents import TableEntry, read_tables, table_names
from bigain.reporting.figures import Change, changes, write_figure_1
from bigain.reporting.frames import CellMetric
from bigain.reporting.numbers import Value
from bigain.reporting.package_files import TABLES
from bigain.reporting.scores import Scores
from bigain.study.cells import Cell

TABLE = {
    "title": "t",
    "caption": "A caption with 5% & more",
    "families": ["unet"],
    "baselines": ["none"],
    "strength_kind": "merge_ratio",
    "methods": ["tome", "bigain_tm"],
    "delta": {"of": "bigain_tm", "against": "tome"},
}


def row(method, strength, metric, value, seed=0):
    kind = "none" if method == "none" else "merge_ratio"
    cell = {"task": "classification", "backbone": "u", "dataset": "d", "method": method, "seed": seed}
    numbers = {
        "value": value,
        "low": value - 2,
        "high": value + 4,
        "n": 10,
        "seconds": 1.0,
        "environment": "torch 2 on cpu",
    }
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


NO_IMAGES = Scores([])  # nothing that could be compared image by image


def test_rows_columns_and_delta():
    strengths, (accuracy, distance) = tables.build(RESULTS, NO_IMAGES, TableEntry.parse("table4", TABLE), ["u"], {})
    assert strengths == [0.3, 0.7]
    baseline, tome, ours, delta = accuracy.rows
    assert [v.value for v in baseline.values] == [90, 90]
    assert [v.value for v in tome.values] == [81, None]  # mean over seeds; not run
    assert [v.value for v in ours.values] == [85, 70]
    assert tome.values[0].half_width == 3
    assert tome.values[0].spread == pytest.approx(2**0.5)  # of 80 and 82
    assert ours.values[0].spread is None  # a single seed
    assert [v.value for v in delta.values] == [4, None]
    assert not any(value.best for group in (accuracy, distance) for row in group.rows for value in row.values)


def test_numbers_of_different_numbers_of_images_have_no_unpaired_difference():
    results = RESULTS.assign(n=[20 if method == "tome" else 10 for method in RESULTS["method"]])
    _, (accuracy, distance) = tables.build(results, NO_IMAGES, TableEntry.parse("table4", TABLE), ["u"], {})
    assert [group.rows[-1].values[0].value for group in (accuracy, distance)] == [None, None]
    assert distance.rows[-2].values[0].value == 15


def cell(method, strength, hits, seed=0):
    """A classified cell of which the first images are right: `hits` of 100."""
    place = {"backbone": "u", "dataset": "d", "method": method, "strength": strength, "seed": seed}
    items = {"image": list(range(100)), "acc@1": [int(k < hits) for k in range(100)]}
    return {"cell": place, "items": items, "metrics": {}}


def built(**hits):
    """The rows of a table whose methods have these numbers of hits at 0.3, by method."""
    entry = TableEntry.parse("t", TABLE | {"methods": ["tome", "tome_fixed", "bigain_tm"]})
    results = pd.DataFrame([row(method, 0.3, "acc@1", float(count)) for method, count in hits.items()])
    scores = Scores([cell(method, 0.3, count) for method, count in hits.items()])
    _, (group,) = tables.build(results, scores, entry, ["u"], {})
    return {"delta" if r.kind == "delta" else r.method: r.values[0] for r in group.rows if r.kind != "baseline"}


@pytest.mark.parametrize(
    ("hits", "best"),
    [
        ({"tome": 60, "tome_fixed": 60, "bigain_tm": 80}, "bigain_tm"),
        ({"tome": 60, "tome_fixed": 80, "bigain_tm": 80}, None),  # a tie
        ({"tome": 60, "tome_fixed": 78, "bigain_tm": 80}, None),  # within error of the second
        ({"tome": 80, "bigain_tm": 60}, "tome"),
        ({"bigain_tm": 80}, None),  # nothing to compare with
    ],
)
def test_the_best_of_a_column_is_bold_only_if_every_other_is_significantly_worse(hits, best):
    assert [method for method, value in built(**hits).items() if value.best] == ([best] if best else [])


def test_the_delta_row_has_paired_intervals():
    """20 of 100 images are gained and none is lost."""
    delta = built(tome=60, tome_fixed=60, bigain_tm=80)["delta"]
    assert delta.value == pytest.approx(20)
    assert 12 < delta.low < 20 < delta.high < 30


def test_the_delta_of_a_distance_is_negative_where_ours_is_better():
    results = pd.DataFrame([row(method, 0.3, "fd", value) for method, value in (("tome", 50.0), ("bigain_tm", 20.0))])
    ours, theirs = (CellMetric("fd", "u", "d", method, 0.3) for method in ("bigain_tm", "tome"))

    class Distances:
        def comparable(self, a, b):
            return True

        def is_better(self, a, b):
            return self.improvement(a, b).low > 0

        def improvement(self, a, b):
            assert {a, b} == {ours, theirs}
            sign = 1 if a == ours else -1
            return Value(sign * 30.0, *sorted((sign * 25.0, sign * 36.0)))

    _, (group,) = tables.build(results, Distances(), TableEntry.parse("t", TABLE), ["u"], {})
    _, tome, big, delta = (r.values[0] for r in group.rows)
    assert (delta.value, delta.low, delta.high) == (-30, -36, -25)
    assert (tome.best, big.best) == (False, True)


def test_the_papers_numbers_are_in_the_same_places():
    methods = {"tome": 79.0, "bigain_tm": 88.0}
    printed = {CellMetric("acc@1", "u", "d", method, 0.3): number for method, number in methods.items()}
    entry = TableEntry.parse("table4", TABLE)
    _, (accuracy, distance) = tables.build(RESULTS, NO_IMAGES, entry, ["u"], printed)
    _, tome, _, delta = accuracy.rows
    assert (tome.values[0].printed, tome.values[0].difference) == (79, 2)
    assert (tome.values[1].printed, tome.values[1].difference) == (None, None)
    assert (delta.values[0].printed, delta.values[0].difference) == (9, -5)
    assert distance.rows[1].values[0].printed is None


SPEC = {
    "backbones": {"u": "unet"},
    "study": "my_study",
    "classification": {"map": ["per_image"]},
    "of_paper": False,
    "seeds": [0],
}
EFFICIENCY = [
    {"backbone": "u", "method": method, "strength": strength, "gflops": gflops, "sparsity": 0.5}
    for method, strength, gflops in (("none", None, 10), ("tome", 0.3, 9), ("tome", 0.7, 7), ("bigain_tm", 0.7, 8))
]


def write(folder, results=RESULTS, table=TABLE, name="table4", spec=SPEC, measured=EFFICIENCY):
    """The three files of a table, as text: tex, csv, html."""
    (folder / "tables.yaml").write_text(json.dumps({"table4": table}))  # JSON is YAML
    files = [folder / f"table4.{suffix}" for suffix in ("tex", "csv", "html")]
    inputs = results, NO_IMAGES, pd.DataFrame(measured), folder / "tables.yaml"
    table_files.write_table_files(*inputs, name, spec, *files)
    return [file.read_text() for file in files]


def test_the_three_formats(tmp_path):
    tex, csv, html = write(tmp_path)
    assert r"5\% \& more" in tex
    assert r"\texttt{my\_study}" in tex
    # recognition on the left, generation on the right, the uncompressed model in the first method's line
    assert r"Recognition $\uparrow$} & \multicolumn{3}{c}{Generation (FD) $\downarrow$}" in tex
    assert re.search(
        r"ToMe & 90\.0 \{.*\} & 81\.0 \{.*\[79\.0, 85\.0\] sd 1\.4\} & -- & 10\.0 \{.*\} & 12\.0 \{.*\} & -- \\\\", tex
    )
    assert r"BiGain\textsubscript{TM} - ToMe &  & $+4.00$ & -- &  & $+3.00$ & -- \\" in tex
    assert "<td>+4.00</td><td>–</td>" in html
    assert csv.splitlines() == [
        ",".join(columns_of("table")),
        "u,d,acc@1,none,no compression,baseline,,,none,90,88,94,,1,",
        "u,d,acc@1,tome,ToMe,method,,0.3,merge_ratio,81,79,85,1.414213562,2,",
        "u,d,acc@1,bigain_tm,BiGain_TM,method,,0.3,merge_ratio,85,83,89,,1,",
        "u,d,acc@1,bigain_tm,BiGain_TM,method,,0.7,merge_ratio,70,68,74,,1,",
        "u,d,acc@1,bigain_tm,BiGain_TM,delta,tome,0.3,merge_ratio,4,,,,,",
        "u,d,fd,none,no compression,baseline,,,none,10,8,14,,1,",
        "u,d,fd,tome,ToMe,method,,0.3,merge_ratio,12,10,16,,1,",
        "u,d,fd,bigain_tm,BiGain_TM,method,,0.3,merge_ratio,15,13,19,,1,",
        "u,d,fd,bigain_tm,BiGain_TM,delta,tome,0.3,merge_ratio,3,,,,,",
    ]


def test_results_from_two_environments_are_marked(tmp_path):
    assert "environments" not in "".join(write(tmp_path))
    other = RESULTS.assign(environment=["torch 2 on cpu"] * 7 + ["torch 3 on cuda"])
    tex, _, html = write(tmp_path, other)
    for text in (tex, html):
        assert "numbers come from 2 environments" in text
        assert "torch 2 on cpu; torch 3 on cuda" in text


def test_variants_side_by_side_and_an_extra_column_at_the_highest_strength(tmp_path):
    variant = RESULTS[RESULTS["method"] == "bigain_tm"].assign(method="bigain_tm@sa+ca")
    variant["value"] -= 1
    across = {"rows": ["bigain_tm"], "across": {"SA only": "", "SA+CA": "@sa+ca"}}
    table = TABLE | across | {"methods": ["tome", "bigain_tm", "bigain_tm@sa+ca"]}
    tex, _, _ = write(tmp_path, pd.concat([RESULTS, variant]), table)
    assert r"\multicolumn{2}{c}{SA only} & \multicolumn{2}{c}{SA+CA}" in tex
    assert re.search(r"BiGain.* & .*85\.0.* & .*70\.0.* & 84\.0.* & 69\.0", tex)
    assert "uncompressed 90.0}" in tex
    tex, _, html = write(tmp_path, table=TABLE | {"extra": "gflops"})
    assert "ToMe & 7.00 & 90.0 {" in tex
    assert "<th>GFLOPs</th>" in html


def test_an_unknown_table_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"tables\.yaml: unknown table 'tabel4'\. Did you mean 'table4'\?"):
        write(tmp_path, name="tabel4")


def test_listings():
    classified = {"reader": "fashion", "images": 500, "classes": 10, "stages": [5, 20], "keep": [5, 1]}
    spec = {"study": "s", "datasets": {"a_b": classified, "g": {"reader": "coco2017"}}}
    nine, ten, thirteen = protocol.listings(spec | {"classification": {"elimination": None}})
    assert ten.caption.endswith("stage, and noise predictions per image.")
    assert csv_text("table9", nine.entries).splitlines()[1:] == ["a_b,fashion,10,500,", "g,coco2017,,,"]
    assert csv_text("table10", ten.entries).splitlines()[1:] == ["a_b,0,5,5,50", "a_b,1,20,1,125"]  # 5 x 10 + 15 x 5
    assert [cell.plain for cell in ten.rows[0]] == ["a_b", "2", "[5, 20]", "[5, 1]", "125"]
    assert ten.heads[-1] == "predictions per image"
    assert [row[0].plain for row in thirteen.rows] == [
        name for name in SCORE_NAMES if name != "dft_amplitude_without_dc"
    ]


def test_escapes():
    assert names.latex("BiGain_TM: 5% & a_b") == r"BiGain\textsubscript{TM}: 5\% \& a\_b"
    assert names.html("a<b & BiGain_TD") == "a&lt;b &amp; BiGain<sub>TD</sub>"


FIGURE_1 = [
    cell("none", None, 80),
    cell("tome", 0.3, 60),
    cell("tome", 0.3, 62, seed=1),
    cell("bigain_tm", 0.3, 79),
    cell("sito", 0.3, 50),
]


def test_figure_1_shows_paired_changes_from_the_uncompressed_model_and_from_the_rival():
    shown = {(c.cell.method, c.against): c for c in changes(Scores(FIGURE_1))}
    assert set(shown) == {("tome", "none"), ("bigain_tm", "none"), ("bigain_tm", "tome")}  # not SiTo
    assert shown["tome", "none"].change_percent == pytest.approx(-100 * 19 / 80)  # the mean of two seeds
    assert shown["bigain_tm", "none"].change_percent == pytest.approx(-100 * 1 / 80)
    assert shown["bigain_tm", "none"].better is None  # one image of 100
    assert shown["bigain_tm", "tome"].change_percent == pytest.approx(100 * 18 / 80)
    assert shown["bigain_tm", "tome"].better == "bigain_tm"


def test_a_smaller_distance_is_better():
    ours = CellMetric("fd", "u", "d", "bigain_tm", 0.3)
    assert Change(ours, "tome", -20, -30, -10).better == "bigain_tm"
    assert Change(ours, "tome", 20, 10, 30).better == "tome"
    assert Change(ours, "tome", 20, -10, 50).better is None


@pytest.mark.parametrize("methods", [["none"], ["none", "tome", "bigain_tm"]])
def test_figure_1_of_a_study_with_and_without_compressed_cells(tmp_path, methods):
    files = [tmp_path / f"f.{suffix}" for suffix in ("pdf", "png", "csv")]
    write_figure_1(Scores([c for c in FIGURE_1 if c["cell"]["method"] in methods]), *files)
    lines = (tmp_path / "f.csv").read_text().splitlines()
    assert lines[0] == ",".join(columns_of("figure1"))
    assert len(lines) == (4 if methods[1:] else 1)
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "f.png").stat().st_size > 1000


def test_a_study_has_the_tables_that_its_cells_belong_to(tmp_path):
    cells = [Cell("classification", "u", "d", "none", None, 0), Cell("classification", "u", "d", "tome", 0.5, 0)]
    assert table_names(TABLES, cells, {"u": {"family": "unet"}}) == ["table4"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ["tom"]}, r"table4: unknown method 'tom'\. Did you mean 'tome'\?"),
        ({"metods": ["tome"]}, r"table4: unknown key 'metods'\. Did you mean 'methods'\?"),
        ({"title": None}, r"table4: title is missing"),
        ({"delta": {"of": "tome"}}, r"table4: delta needs the keys of and against"),
    ],
)
def test_a_wrong_entry_is_named(change, message, tmp_path):
    entry = {key: value for key, value in (TABLE | change).items() if value is not None}
    (tmp_path / "t.yaml").write_text(json.dumps({"table4": entry}))
    with pytest.raises(ValueError, match=message):
        read_tables(tmp_path / "t.yaml")


def test_an_extra_column_compares_methods_at_one_strength_and_with_the_papers_table():
    measured = pd.DataFrame([*EFFICIENCY, EFFICIENCY[1] | {"strength": 0.9, "gflops": 5}])  # ToMe alone at 0.9
    entry = TableEntry.parse("table8", TABLE | {"extra": "gflops"})
    printed = {CellMetric("gflops", "u", "d", "tome", 0.7): 7.5, CellMetric("gflops", "u", "d", "tome", 0.3): 9.5}
    _, groups = tables.build(RESULTS, NO_IMAGES, entry, ["u"], printed)
    (accuracy, _) = tables.with_extra_column(groups, entry, measured, printed)
    baseline, tome, ours, delta = (row.extra for row in accuracy.rows)
    assert (baseline.value, baseline.printed) == (10, None)
    assert (tome.value, tome.printed, tome.difference) == (7, 7.5, -0.5)
    assert (ours.value, ours.printed) == (8, None)
    assert delta is None


def test_the_page_shows_the_papers_gflops_in_the_papers_column(tmp_path):
    """The numbers that the toggle selects: the paper's, not ours, and of the table that the caption names."""
    table = TABLE | {"extra": "gflops", "printed_in": ["8"]}
    results = RESULTS.assign(backbone="sd2", dataset="pets")
    measured = [row | {"backbone": "sd2"} for row in EFFICIENCY]
    spec = SPEC | {"of_paper": True, "backbones": {"sd2": "unet"}}
    _, csv, html = write(tmp_path, results, table, spec=spec, measured=measured)
    assert '<span class="ours">8.00</span><span class="paper">704.99</span>' in html
    assert '<span class="paper">74.63</span>' in html
    assert "The numbers of the paper's Table 8." in html
    assert "70,68,74,,1,74.63" in csv


def test_captions_say_what_a_perfect_generator_would_score(tmp_path):
    perfect = row("none", None, "fd_perfect", 17.04) | {"low": 15.0, "high": 19.0, "n": 1000}
    other = row("tome", 0.3, "fd_perfect", 17.04) | {"low": 15.0, "high": 19.0, "n": 1000}
    results = pd.concat([RESULTS, pd.DataFrame([perfect, other])])
    says = "Distances of few images are too large; a perfect generator would score FD 17.0 with 1,000 images of d."
    assert bias_note(results) == says
    tex, _, html = write(tmp_path, results)
    assert says in tex
    assert says in html
    assert bias_note(RESULTS) == ""
    tex, _, html = write(tmp_path, results[results["metric"] != "fd"])  # no distances, no bias
    assert "perfect" not in tex + html
