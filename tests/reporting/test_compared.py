"""The text of `bigain compare`: every row says on how many images its lead is."""

import numpy as np

from bigain.metrics.significance import paired
from bigain.reporting.compared import Comparison, Opponent, Stored, compare, lines
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


def test_stored_cells_of_the_same_method_are_not_listed_as_new(root):
    stored = Stored(root / "docs/reference/outcomes")
    place = {"task": "classification", "backbone": "mini_unet", "method": "bigain_tm", "strength": 0.7}
    (cell,) = (cell for cell in stored.cells if place.items() <= cell["cell"].items())
    few = {name: values[:4] for name, values in cell["items"].items()}
    (compared,) = compare(stored, [{**cell, "items": few}], "bigain_tm", {"mini_unet": 13.9})
    assert (compared.cell.metric, compared.cell.backbone, compared.cell.strength) == ("acc@1", "mini_unet", 0.7)
    assert {opponent.lead.n for opponent in compared.opponents} == {4}
