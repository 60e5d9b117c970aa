"""The paper's numbers beside a study's, and against themselves."""

import pandas as pd
import pytest

from bigain.reporting.audit import audit
from bigain.reporting.published import beside, deltas, summary, values

CELL = {"task": "classification", "backbone": "sd2", "dataset": "pets", "seed": 0}


def row(method, strength, metric, value, half, **more):
    return (
        CELL
        | {"method": method, "strength": strength, "metric": metric}
        | {"value": value, "low": value - half, "high": value + half}
        | more
    )


EFFICIENCY = pd.DataFrame([{"backbone": "sd2", "method": "tome", "strength": 0.7, "gflops": 704.87}])


def test_all_466_numbers_are_there_under_names_that_exist():
    frame = values()
    assert len(frame) == 466
    assert frame["printed"].notna().all()
    assert len(deltas()) == 37 + 8 + 63 + 14


def test_a_studys_numbers_stand_beside_the_papers():
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
    joined = beside(results, EFFICIENCY)
    assert len(joined) == 466

    def at(table, method, metric, dataset="pets"):
        mine = joined[(joined["table"] == table) & (joined["method"] == method) & (joined["metric"] == metric)]
        return mine[mine["dataset"] == dataset] if dataset else mine

    (full,) = at("2", "none", "acc@1").itertuples()
    assert (full.printed, full.value, full.inside) == (81.03, 80.0, True)
    assert full.difference == pytest.approx(-1.03)
    for table in ("1", "4"):  # both print ToMe at 0.5; two seeds are averaged
        found = at(table, "tome", "acc@1")
        found = found[found["strength"] == 0.5].iloc[0]
        assert (found["value"], found["inside"]) == (71.0, False)
    (precision,) = at("2", "none", "map", "coco2017").itertuples()
    assert precision.value == 46.5  # the released ranking's, which the printed ones are
    (low,) = at("12", "kv_low_frequency", "acc@1", "imagenet100").itertuples()
    assert (low.value, low.inside) == (45.0, True)
    (counted,) = at("11", "tome", "gflops", None).itertuples()
    assert counted.value == 704.87
    assert pd.isna(counted.inside)
    missing = at("2", "todo", "acc@1")
    assert missing["value"].isna().all()
    assert missing["inside"].isna().all()


def test_the_summary_counts_what_is_there():
    joined = beside(pd.DataFrame([row("none", None, "acc@1", 80.0, 1.5)]), EFFICIENCY)
    (second,) = [one for one in summary(joined) if (one["table"], one["metric"]) == ("2", "Acc@1 (%)")]
    assert (second["printed"], second["have"], second["inside"]) == (66, 1, 1)
    (third,) = [one for one in summary(joined) if (one["table"], one["metric"]) == ("3", "FID")]
    assert (third["have"], third["median_difference"]) == (0, None)


def test_the_audit_finds_what_is_known_to_be_wrong_and_nothing_else():
    wrong = {finding.check: finding for finding in audit() if not finding.agrees}

    def one(part):
        (found,) = [finding for check, finding in wrong.items() if part in check]
        return found

    assert one("Table 1's bigain_td").recomputed == "79.91"
    assert one("what todo saves").recomputed == "12.84%"
    assert one("Table 4: its 63").recomputed == "coco2017 fid 0.1: -0.06"
    assert one("Table 5: its 14").recomputed.startswith("imagenet100 acc@1 0.1: +2.70")
    assert one("uncompressed FID, SD 2.0").printed == "Table 2: 17.64"
    assert one("uncompressed FID, DiT").recomputed == "Table 5: 47.53"
    assert one("Table 5's FIDs of tome").recomputed == "differ by at most 0.01 over 7 ratios"
    assert one("the gain in FID").recomputed == "0.34 (1.8%)"
    assert "66.35" in one("pets: 90").printed
    assert one("cuts the loss").recomputed.endswith("mosaicdiff 27%")
    assert one("sd2 on imagenet100").recomputed == "72.88 against 73.12"
    assert one("dit_xl2 on imagenet100").recomputed == "78.42 against 84.82"
    assert not any("Table 11" in check or "Table 2:" in check or "Table 3:" in check for check in wrong)
    assert len(wrong) == 14


def test_a_number_that_is_missing_from_the_values_is_named(monkeypatch):
    from bigain.reporting import audit as module

    full = values()
    monkeypatch.setattr(module, "values", lambda: full[full["table"] != "1"])
    with pytest.raises(ValueError, match=r"values\.csv: 0 rows of table 1, acc@1, tome, 0\.5, pets"):
        audit()
