"""The paper's numbers compared with a study's, and with each other."""

import pandas as pd
import pytest

from bigain.reporting.audit import audit
from bigain.reporting.paper_comparison import compare, summarize
from bigain.reporting.paper_values import printed_deltas, printed_values, values

CELL = {"task": "classification", "backbone": "sd2", "dataset": "pets", "seed": 0}


def row(method, strength, metric, value, half, **more):
    return (
        CELL
        | {"method": method, "strength": strength, "metric": metric}
        | {"value": value, "low": value - half, "high": value + half}
        | more
    )


EFFICIENCY = pd.DataFrame([{"backbone": "sd2", "method": "tome", "strength": 0.7, "gflops": 704.87}])


def test_all_466_numbers_are_read():
    frame = values()
    assert len(frame) == len(printed_values()) == 466
    assert frame["printed"].notna().all()
    assert len(printed_deltas()) == 37 + 8 + 63 + 14


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
    assert len(joined) == 466

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
    missing = at("2", "todo", "acc@1")
    assert missing["value"].isna().all()
    assert missing["inside"].isna().all()


def test_the_summary_counts_available_numbers():
    joined = compare(pd.DataFrame([row("none", None, "acc@1", 80.0, 1.5)]), EFFICIENCY)
    (second,) = [row for row in summarize(joined) if (row["table"], row["metric"]) == ("2", "Acc@1 (%)")]
    assert (second["printed"], second["available"], second["inside"]) == (66, 1, 1)
    (third,) = [row for row in summarize(joined) if (row["table"], row["metric"]) == ("3", "FID")]
    assert (third["available"], third["median_difference"]) == (0, None)


def test_the_audit_finds_the_known_inconsistencies_and_no_others():
    wrong = {finding.check: finding for finding in audit() if not finding.agrees}

    def failed(part):
        (finding,) = [finding for check, finding in wrong.items() if part in check]
        return finding

    assert failed("Table 1's accuracy of bigain_td").recomputed == "79.91"
    assert failed("operations saved by todo").recomputed == "12.84%"
    assert failed("Table 4: its 63").recomputed == "coco2017 fid 0.1: -0.06"
    assert failed("Table 5: its 14").recomputed.startswith("imagenet100 acc@1 0.1: +2.70")
    assert failed("uncompressed FID, SD 2.0").printed == "Table 2: 17.64"
    assert failed("uncompressed FID, DiT").recomputed == "Table 5: 47.53"
    assert failed("Table 5's FIDs of tome").recomputed == "differ by at most 0.01 over 7 ratios"
    assert failed("the gain in FID").recomputed == "0.34 (1.8%)"
    assert "66.35" in failed("pets: 90").printed
    assert failed("cuts the loss").recomputed.endswith("mosaicdiff 27%")
    assert failed("sd2 on imagenet100").recomputed == "72.88 against 73.12"
    assert failed("dit_xl2 on imagenet100").recomputed == "78.42 against 84.82"
    assert not any("Table 11" in check or "Table 2:" in check or "Table 3:" in check for check in wrong)
    assert len(wrong) == 14


def test_a_missing_number_is_named(monkeypatch):
    from bigain.reporting import audit as module

    others = [row for row in printed_values() if row.table != "1"]
    monkeypatch.setattr(module, "printed_values", lambda: others)
    with pytest.raises(ValueError, match=r"values\.csv: 0 rows of table 1, acc@1, tome, 0\.5, pets"):
        audit()
