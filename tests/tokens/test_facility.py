"""ToMA: greedy facility location against brute force, the merge's closed form, token counts."""

from itertools import combinations

import pytest
import torch
import torch.nn.functional as F

from bigain.methods.presets import METHODS
from bigain.tokens import TokenGrid
from bigain.tokens.facility import STEP, merge_tiles, most_representative
from tests.helpers.tokens import random_tokens

TILE = (4, 4)


def covered(similarity, chosen):
    """The facility location of a choice: sum_j max_i S_ij."""
    return similarity[list(chosen)].max(dim=0).values.sum().item()


@pytest.mark.parametrize("seed", range(5))
def test_every_further_token_is_the_one_that_covers_most(seed):
    """Up to the step in which sums are compared."""
    x = F.normalize(random_tokens(TokenGrid(3, 3), batch=1, seed=seed)[0], dim=-1)
    similarity = x @ x.T
    chosen = most_representative(similarity, 5).tolist()
    assert len(set(chosen)) == 5
    for count in range(5):
        most = max(covered(similarity, [*chosen[:count], i]) for i in range(9))
        assert covered(similarity, chosen[: count + 1]) == pytest.approx(most, abs=2 * STEP)


@pytest.mark.parametrize("seed", range(3))
def test_the_greedy_choice_keeps_its_guarantee(seed):
    """1 - 1/e of the best choice of four, among all 126, for similarities above zero (Nemhauser et al. 1978)."""
    x = random_tokens(TokenGrid(3, 3), batch=1, seed=seed)[0].abs()
    similarity = F.normalize(x, dim=-1) @ F.normalize(x, dim=-1).T
    best = max(covered(similarity, choice) for choice in combinations(range(9), 4))
    assert covered(similarity, most_representative(similarity, 4).tolist()) >= 0.632 * best


def test_equal_tokens_are_chosen_once_each_in_order():
    assert most_representative(torch.ones(2, 4, 4), 3).tolist() == [[0, 1, 2], [0, 1, 2]]


def test_two_directions_become_their_means_and_come_back():
    """A tile with two tokens along each axis: the softmax at 1000 is hard, so weights are 1/2 each."""
    x = torch.tensor([[[1.0, 0], [2, 0], [0, 1], [0, 3]]])
    plan = merge_tiles(x, TokenGrid(2, 2), 0.5, (2, 2), 1000.0)
    y = torch.tensor([[[10.0], [20], [4], [6]]])
    assert sorted(plan.reduce(y)[0, :, 0].tolist()) == [5, 15]
    assert plan.around(lambda tokens: tokens, y)[0, :, 0].tolist() == [15, 15, 5, 5]


def test_a_soft_merge_is_the_matrix_products_of_the_paper():
    grid, x = TokenGrid(5, 4), random_tokens(TokenGrid(5, 4))
    plan = merge_tiles(x, grid, 0.5, (2, 2), 3.0)
    cells, unit = grid.cell_tokens((2, 2)), F.normalize(x, dim=-1)
    short = [x[:, 16:]]  # the strip below the whole tiles is kept
    expected = torch.empty_like(x)
    expected[:, 16:] = x[:, 16:]
    for tile in cells:
        of_tile = unit[:, tile]
        cosines = of_tile @ of_tile.transpose(1, 2)
        chosen = torch.stack([most_representative(each, 2) for each in cosines])
        a = torch.softmax(3 * torch.stack([each[rows] for each, rows in zip(cosines, chosen, strict=True)]), dim=1)
        short.append(a / a.sum(dim=2, keepdim=True) @ x[:, tile])
        expected[:, tile] = a.transpose(1, 2) @ short[-1]
    torch.testing.assert_close(plan.reduce(x), torch.cat(short, dim=1))
    torch.testing.assert_close(plan.restore(plan.reduce(x)), expected)


def test_a_constant_map_stays_constant():
    x = torch.ones(1, 64, 3)
    plan = merge_tiles(random_tokens(TokenGrid(8, 8), batch=1), TokenGrid(8, 8), 0.7, TILE, 5.0)
    torch.testing.assert_close(plan.reduce(x), torch.ones(1, 20, 3))
    torch.testing.assert_close(plan.restore(plan.reduce(x)), x)


@pytest.mark.parametrize("grid", [TokenGrid(8, 8), TokenGrid(9, 7), TokenGrid(18, 26)])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.5, 0.95])
def test_planning_knows_the_number_of_tokens(grid, ratio):
    x = random_tokens(grid)
    left = merge_tiles(x, grid, ratio, TILE, 1000.0).reduce(x).shape[1]
    assert METHODS["toma"].tokens_left(ratio, grid.height, grid.width) == (left, left)


def test_half_of_the_tokens_are_left_at_the_released_ratio():
    assert METHODS["toma"].tokens_left(0.5, 64, 64) == (2048, 2048)
    with pytest.raises(ValueError, match="4x4 tokens does not fit into a 3x9 grid"):
        METHODS["toma"].tokens_left(0.5, 3, 9)


def test_samples_do_not_see_each_other():
    grid, x = TokenGrid(8, 8), random_tokens(TokenGrid(8, 8), batch=3)
    together = merge_tiles(x, grid, 0.5, TILE, 1000.0)
    alone = merge_tiles(x[1:2], grid, 0.5, TILE, 1000.0)
    torch.testing.assert_close(together.reduce(x)[1:2], alone.reduce(x[1:2]))
    torch.testing.assert_close(together.of_rows(torch.tensor([1])).reduce(x[1:2]), alone.reduce(x[1:2]))
