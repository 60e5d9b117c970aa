"""The paper's numbers compared with a study's, and with each other."""

import pandas as pd
import pytest

from bigain.reporting.audit import audit, write_audit
from bigain.reporting.paper_comparison import compare, summarize
from bigain.reporting.paper_values import printed_deltas, printed_values, values
from bigain.reporting.printed_differences import DIFFERS, MISREAD

CELL = {"task": "classification", "backbone": "sd2", "dataset": "pets", "seed": 0}


def row(method, strength, metric, value, half, **more):
    return (
        CELL
        | {"method": method, "strength": strength, "metric": metric}
        | {"value": value, "low": value - half, "high": value + half}
        | more
    )


EFFICIENCY = pd.DataFrame(
    [
        {"backbone": "sd2", "method": method, "strength": strength}
        | {"gflops": gflops, "saved_percent": 100 * (1 - gflops / 804.26), "sparsity": sparsity}
        for method, strength, gflops, sparsity in (
            ("tome", 0.7, 704.87, 0.0),
            ("bigain_tm", 0.7, 704.99, 0.0),
            ("todo", 2.0, 717.4, 0.75),
            ("todo", 3.0, 701.0, 0.889),
        )
    ]
)


def test_all_491_numbers_are_read():
    frame = values()
    assert len(frame) == len(printed_values()) == 491
    assert frame["printed"].notna().all()
    assert len(printed_deltas()) == 7 + 37 + 8 + 63 + 14


def test_a_studys_numbers_are_joined_to_the_papers():
    results = pd.DataFrame(
        [
            row("none", None, "acc@1", 80.0, 1.5),
            row("tome", 0.5, "acc@1", 70.0, 1.0),
            row("tome", 0.5, "acc@1", 72.0, 1.0, seed=1),
            row("none", None, "map_released", 46.5, 1.0, dataset="coco2017"),
            row("none", None, "map", 50.0, 1.0, dataset="coco2017"),
            row("kv_low_frequency", 2.0, "acc@1", 45.0, 1.0, dataset="imagenet100"),
        ]
    )
    joined = compare(results, EFFICIENCY)
    assert len(joined) == 491

    def at(table, method, metric, dataset="pets"):
        rows = joined[(joined["table"] == table) & (joined["method"] == method) & (joined["metric"] == metric)]
        return rows[rows["dataset"] == dataset] if dataset else rows

    (full,) = at("2", "none", "acc@1").itertuples()
    assert (full.printed, full.value, full.inside) == (81.03, 80.0, True)
    assert full.difference == pytest.approx(-1.03)
    for table in ("1", "4"):  # ToMe at 0.5 is in Tables 1 and 4; two seeds are averaged
        rows = at(table, "tome", "acc@1")
        half_merged = rows[rows["strength"] == 0.5].iloc[0]
        assert (half_merged["value"], half_merged["inside"]) == (71.0, False)
    (precision,) = at("2", "none", "map", "coco2017").itertuples()
    assert precision.value == 46.5  # of the released ranking, as the printed ones
    (low,) = at("12", "kv_low_frequency", "acc@1", "imagenet100").itertuples()
    assert (low.value, low.inside) == (45.0, True)
    (counted,) = at("11", "tome", "gflops", None).itertuples()
    assert counted.value == 704.87
    assert pd.isna(counted.inside)
    of_table_8 = joined[(joined["table"] == "8") & (joined["metric"] == "gflops") & (joined["method"] == "bigain_tm")]
    assert of_table_8["value"].tolist() == [704.99] * 5  # whichever data set's rows print them
    (saved,) = at("1", "todo", "saved_percent").itertuples()
    assert (saved.printed, round(saved.value, 2)) == (14.2, 12.84)
    (keys,) = at("12", "todo", "keys_saved_percent", "imagenet100").itertuples()
    assert (keys.printed, keys.value) == (75, 75)
    missing = at("2", "todo", "acc@1")
    assert missing["value"].isna().all()
    assert missing["inside"].isna().all()


def test_the_summary_counts_available_numbers():
    joined = compare(pd.DataFrame([row("none", None, "acc@1", 80.0, 1.5)]), EFFICIENCY)
    (second,) = [row for row in summarize(joined) if (row["table"], row["metric"]) == ("2", "Acc@1 (%)")]
    assert (second["printed"], second["available"], second["inside"]) == (66, 1, 1)
    (third,) = [row for row in summarize(joined) if (row["table"], row["metric"]) == ("3", "FID")]
    assert (third["available"], third["median_difference"], third["inside"]) == (0, None, None)
    (counted,) = [row for row in summarize(joined) if (row["table"], row["metric"]) == ("8", "GFLOPs")]
    assert (counted["printed"], counted["available"], counted["inside"]) == (15, 5, None)  # counts have no interval


def test_a_number_that_another_table_contradicts_says_so_in_both():
    joined = compare(pd.DataFrame([row("none", None, "acc@1", 80.0, 1.5)]), EFFICIENCY)
    contradicted = joined[joined["note"].str.contains(r"Table \d+ prints", na=False)]
    assert contradicted[["table", "dataset", "method", "printed", "note"]].values.tolist() == [
        ["1", "pets", "bigain_td", 79.9, "Table 2 prints 79.91"],
        ["2", "pets", "bigain_td", 79.91, "Table 1 prints 79.90"],
        ["2", "imagenet100", "none", 17.64, "Table 4 prints 41.37"],
        ["3", "imagenet100", "none", 41.37, "Table 5 prints 47.53"],
        ["4", "imagenet100", "none", 41.37, "Table 2 prints 17.64"],
        ["5", "imagenet100", "none", 47.53, "Table 3 prints 41.37"],
    ]


def test_the_audit_finds_the_known_inconsistencies_and_no_others():
    wrong = {finding.check: finding for finding in audit() if finding.verdict == DIFFERS}

    def failed(part):
        (finding,) = [finding for check, finding in wrong.items() if part in check]
        return finding

    twice = failed("Acc@1 of BiGain_TD 3x on pets (sd2)")
    assert (twice.printed, twice.recomputed) == ("Table 1: 79.90", "Table 2: 79.91")
    assert twice.consequence == "possible with 3,669 images: 79.91"
    assert failed("operations saved by ToDo").recomputed == "12.84%"
    sign = failed("Table 4: 1 of its 63")
    assert sign.recomputed == "FID on coco2017: -0.06 at 0.1"
    assert sign.consequence == (
        "the size is right, the sign is not: BiGain_TM is worse there, unless the + is a misread arrow"
    )
    assert failed("imagenet100 (sd2), in several tables").printed == "Table 2: 17.64"
    assert failed("imagenet100 (dit_xl2), in several tables").recomputed == "Table 5: 47.53"
    assert failed("Table 5's FIDs of ToMe").recomputed == "differ by at most 0.01 over 7 ratios"
    abstract = failed("the gain in FID")
    assert (abstract.printed, abstract.recomputed) == ("0.56 (3.1%)", "0.34 (1.85%)")
    assert abstract.consequence == "the published version (arXiv 2603.12240) prints 0.34 (1.85%)"
    assert "66.35" in failed("pets: 90").printed
    assert failed("cuts the loss").recomputed.endswith("MosaicDiff 27%")
    assert failed("sd2 on imagenet100").recomputed == "72.88 against 73.12"
    assert failed("dit_xl2 on imagenet100").recomputed == "78.42 against 84.82"
    assert not any(check.startswith(f"Table {table}:") for table in (2, 3, 5, 8, 11) for check in wrong)
    assert len(wrong) == 14


def test_differences_that_are_right_without_their_first_digit_are_no_errors():
    (misread,) = (finding for finding in audit() if finding.verdict == MISREAD)
    assert misread.check.startswith("Table 5: 7 of its 14")
    assert misread.printed.startswith("Acc@1 on imagenet100: +12.70 at 0.1, +14.18 at 0.2")
    assert misread.recomputed.endswith("+6.28 at 0.6, +7.88 at 0.7")


def test_the_audit_names_the_text_that_it_reads(tmp_path):
    tex, csv, html = files = [tmp_path / f"audit.{form}" for form in ("tex", "csv", "html")]
    write_audit(*files)
    assert "14 of 38 checks fail" in html.read_text()
    assert "anonymous submission" in html.read_text()
    assert "anonymous submission" in tex.read_text()
    assert "the published version (arXiv 2603.12240) prints 7.15%" in csv.read_text()


def test_a_missing_number_is_named(monkeypatch):
    from bigain.reporting import audit as module

    others = [row for row in printed_values() if row.table != "1"]
    monkeypatch.setattr(module, "printed_values", lambda: others)
    with pytest.raises(ValueError, match=r"values\.csv: 0 rows of table 1, saved_percent, tome, 0\.5, pets"):
        audit()
