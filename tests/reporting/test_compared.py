"""The text of `bigain compare`: every row says on how many images its lead is."""

import numpy as np

from bigain.metrics.significance import paired
from bigain.reporting.compared import Comparison, Opponent, lines
from bigain.reporting.frames import CellMetric


def opponent(method, strength, wins, images):
    return Opponent((method, strength), 80.0, paired((np.arange(images) < wins).astype(float)), 0.5, method == "tome")


def test_opponents_that_share_other_numbers_of_images_with_the_method_say_so():
    cell = CellMetric("acc@1", "u", "x", "bigain_tm", 0.7)
    compared = Comparison(cell, 82.5, [opponent("none", None, 10, 1000), opponent("tome", 0.7, 30, 200)])
    head, columns, *rows = lines(compared, saved=12.34, faster=None)
    assert head == "u, x, Acc@1 (%): BiGain_TM 0.7: 82.5 (12.3% of operations saved)"
    end = columns.index("images") + len("images")
    assert [row[:end].split()[-1] for row in rows] == ["1,000", "200"]
    assert [row[end] for row in rows] == [" ", " "]
    assert rows[0].strip().startswith("no compression")
    assert rows[1].endswith("the best there")
