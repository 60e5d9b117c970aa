"""Scores, norms and the lowest token of each cell, as torch computes them."""

import pytest
import torch

from bigain.tokens import TokenGrid, kernels, matching
from bigain.tokens.kernels import scoring
from bigain.tokens.scores import SCORES
from tests.helpers.quick import in_turn
from tests.helpers.torch_path import DTYPES, GRIDS, tokens_of, torch_path, whole_numbers


@pytest.mark.parametrize("k", range(len(DTYPES)))
@pytest.mark.parametrize("name", kernels.SCORES)
def test_scores_and_norms_are_torchs(k, name):
    """Every score in every precision; over three scores, every precision meets every grid."""
    grids = (GRIDS[1], TokenGrid(1, 7), TokenGrid(33, 2))
    dtype, grid = DTYPES[k], grids[(k + kernels.SCORES.index(name)) % len(grids)]
    x = tokens_of(grid, 2, 70, dtype)
    scores, inverse_norms, _ = scoring.score(x, grid.height, grid.width, 2, 2, name)
    with torch_path():
        torch.testing.assert_close(scores, SCORES[name](x, grid), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(inverse_norms, 1 / x.float().norm(dim=-1).clamp(min=1e-12), rtol=1e-5, atol=0)
    assert torch.equal(SCORES[name](x, grid), scores)  # which the operators call


@pytest.mark.parametrize(("height", "width", "grid"), in_turn(((2, 2), (3, 2), (1, 3), (4, 4), (5, 7)), GRIDS))
def test_the_first_of_the_lowest_tokens_of_a_cell_is_picked(height, width, grid):
    """Sums of whole numbers are exact, so ties are ties."""
    cell = (height, width)
    dtype = DTYPES[cell[0] % 3]
    x = whole_numbers(grid, 3, 8, dtype)
    scores, _, lowest = scoring.score(x, grid.height, grid.width, *cell, "laplacian_l1")
    with torch_path():
        assert torch.equal(scores, SCORES["laplacian_l1"](x, grid))
        assert torch.equal(lowest, matching.cell_argmin(scores, grid, cell))


@pytest.mark.parametrize("batch", [1, 5])
def test_samples_do_not_depend_on_one_another(batch):
    grid = TokenGrid(9, 7)
    x = tokens_of(grid, batch, 40, torch.float16)
    together = scoring.score(x, 9, 7, 2, 2, "laplacian_l2")
    for k in range(batch):
        for all_rows, single in zip(together, scoring.score(x[k : k + 1], 9, 7, 2, 2, "laplacian_l2"), strict=True):
            assert torch.equal(all_rows[k : k + 1], single)


@pytest.mark.parametrize("cell", [(3, 3), (2, 2)])
def test_a_destination_lies_in_its_cell_even_among_nans(cell):
    """Cells of nine tokens take sixteen lanes, of which seven are no token."""
    grid = TokenGrid(9, 12)
    x = tokens_of(grid, 2, 8, torch.float32)
    x[:, 40:44] = torch.nan
    _, _, lowest = scoring.score(x, 9, 12, *cell, "laplacian_l1")
    cells = grid.cell_tokens(cell)
    assert all(lowest[row, k] in cells[k] for row in range(2) for k in range(len(cells)))
