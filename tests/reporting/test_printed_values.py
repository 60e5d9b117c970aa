"""Every number that the paper's tables print is stored, and every table of ours shows those of its own table.

printed_tables.tsv has the numbers of the tables as the text of the anonymous submission prints them, a line per line of
a table: `head` are strengths, `body` is everything else. The text has no Table 7; Tables 9 and 10 hold settings and
Table 13 formulas.
"""

import csv
from collections import Counter
from pathlib import Path

import pytest

from bigain.reporting.contents import TableEntry, read_tables
from bigain.reporting.frames import CellMetric
from bigain.reporting.package_files import PRINTED, TABLES
from bigain.reporting.paper_values import contradictions, printed_deltas, printed_in, printed_pair, printed_values
from bigain.reporting.printed_differences import is_misread_arrow

TEXT = Path(__file__).with_name("printed_tables.tsv")
IN_TEXT = ("1", "2", "3", "4", "5", "6", "8", "11", "12")


def rows(path, **options):
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle, **options))


def printed(table, part):
    """The numbers of a part of a table in the text."""
    lines = [row["numbers"] for row in rows(TEXT, delimiter="\t") if (row["table"], row["part"]) == (table, part)]
    return [token.lstrip("↑↓+") for line in lines for token in line.split()]


def test_the_text_has_these_tables():
    assert tuple(dict.fromkeys(row["table"] for row in rows(TEXT, delimiter="\t"))) == IN_TEXT
    assert tuple(dict.fromkeys(row.table for row in printed_values())) == IN_TEXT


@pytest.mark.parametrize("table", IN_TEXT)
def test_every_number_of_a_table_is_stored_as_often_as_it_is_printed(table):
    values = [row.printed for row in printed_values() if row.table == table]
    deltas = [row.printed for row in printed_deltas() if row.table == table]
    if table in ("2", "4"):  # print the FIDs on COCO twice, for accuracy and for mAP
        of_coco = {"dataset": "coco2017", "metric": "fid"}.items()
        values += [row.printed for row in printed_values() if row.table == table and of_coco <= row._asdict().items()]
        deltas += [row.printed for row in printed_deltas() if row.table == table and of_coco <= row._asdict().items()]
    stored = Counter(f"{abs(number):.2f}" for number in values + deltas)
    assert stored == Counter(f"{float(number.rstrip('%')):.2f}" for number in printed(table, "body"))


@pytest.mark.parametrize("table", ["2", "3", "4", "5", "6", "8"])
def test_the_strengths_of_a_table_are_stored(table):
    def strength(text):
        return float(text[:-1]) / 100 if text.endswith("%") else float(text.rstrip("x"))

    stored = {row.strength for row in printed_values() if row.table == table} - {None}
    assert stored == set(map(strength, printed(table, "head")))


def test_table_8_has_its_gflops():
    gflops = [row for row in printed_values() if (row.table, row.metric) == ("8", "gflops")]
    assert Counter(row.printed for row in gflops) == {704.99: 5, 698.88: 5, 695.08: 5}


def test_the_cells_for_which_tables_contradict_each_other():
    assert contradictions() == {
        CellMetric("acc@1", "sd2", "pets", "bigain_td", 3): {"1": 79.9, "2": 79.91},
        CellMetric("fid", "sd2", "imagenet100", "none", None): {"2": 17.64, "4": 41.37},
        CellMetric("fid", "dit_xl2", "imagenet100", "none", None): {"3": 41.37, "5": 47.53},
    }


def test_every_table_shows_the_numbers_of_its_own():
    entries = read_tables(TABLES)

    def shown(name, metric, backbone, dataset, method, strength):
        return printed_in(entries[name].printed_in).get(CellMetric(metric, backbone, dataset, method, strength))

    assert shown("table2", "acc@1", "sd2", "pets", "bigain_td", 3) == 79.91
    assert shown("table2", "fid", "sd2", "imagenet100", "none", None) == 17.64
    assert shown("table4", "fid", "sd2", "imagenet100", "none", None) == 41.37
    assert shown("table3", "fid", "dit_xl2", "imagenet100", "none", None) == 41.37
    assert shown("table5", "fid", "dit_xl2", "imagenet100", "none", None) == 47.53
    assert shown("table8", "gflops", "sd2", "coco2017", "bigain_tm_cached", 0.7) == 698.88
    assert shown("table12", "keys_saved_percent", "sd2", "imagenet100", "kv_low_frequency", 2) == 75
    assert shown("table8", "acc@1", "sd2", "pets", "none", None) is None  # printed in others only
    assert shown("table2", "map_released", "sd2", "coco2017", "none", None) == 46.01
    assert entries["table7"].printed_in == []
    for name, entry in entries.items():
        digits = name.removeprefix("table")
        assert entry.printed_in == ([digits] if digits in IN_TEXT else entry.printed_in), name
        printed_in(entry.printed_in)  # tables shown together do not contradict each other


def test_tables_that_contradict_each_other_are_not_shown_together():
    with pytest.raises(ValueError, match=r"17\.64 \(Table 2\) and 41\.37 \(Table 4\) for fid of none on imagenet100"):
        printed_in(["2", "4"])


def test_an_unknown_table_of_the_paper_is_named():
    entry = {"title": "t", "caption": "c", "families": ["unet"], "strength_kind": "merge_ratio", "methods": ["tome"]}
    entry |= {"delta": {"of": "tome", "against": "tome"}, "printed_in": ["7"]}
    with pytest.raises(ValueError, match="unknown table in printed_in '7'"):
        TableEntry.parse("mine", entry)


def test_numbers_are_compared_within_a_table():
    twofold = CellMetric("fid", "dit_xl2", "imagenet100", "bigain_td", 2)
    merged = twofold._replace(method="bigain_tm", strength=0.1)
    uncompressed = twofold._replace(method="none", strength=None)
    assert printed_pair(twofold, uncompressed) == (40.13, 41.37)
    assert printed_pair(merged, uncompressed) == (41.43, 47.53)
    assert printed_pair(uncompressed, merged) == (47.53, 41.43)
    assert printed_pair(merged, merged._replace(method="tome_fixed")) is None


def test_a_misread_arrow_is_a_leading_1_too_many():
    assert is_misread_arrow(12.70, 2.70)
    assert is_misread_arrow(12.70, -2.70)  # an arrow has no sign
    assert is_misread_arrow(114.18, 14.18)
    assert not is_misread_arrow(12.70, 2.71)
    assert not is_misread_arrow(22.70, 2.70)
    assert not is_misread_arrow(0.06, -0.06)


def test_the_text_that_the_numbers_are_from_is_named():
    assert "anonymous submission" in (PRINTED / "README.md").read_text()
