"""The token grid: its cells, and tokens as a map and back."""

import torch

from bigain.tokens import TokenGrid
from tests.helpers.tokens import random_tokens

CELL = (2, 2)


def test_cells_of_a_rectangle_leave_the_strip_out():
    grid = TokenGrid(5, 4)
    assert grid.cell_tokens(CELL).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_sequence_and_map_are_inverse():
    grid = TokenGrid(3, 7)
    x = random_tokens(grid)
    assert torch.equal(grid.to_sequence(grid.to_map(x)), x)
    assert grid.to_map(x)[1, 2, 1, 4] == x[1, 1 * 7 + 4, 2]
