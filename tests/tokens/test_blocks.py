"""Adaptive block merging: whole cells become their means, by each of the paper's rules."""

import pytest
import torch

from bigain.methods.ids import method_of
from bigain.methods.presets import METHODS
from bigain.tokens import TokenGrid
from bigain.tokens.blocks import merge_cells
from tests.helpers.tokens import random_tokens

CELL = (2, 2)
GRID = TokenGrid(16, 16)


def test_a_smooth_cell_becomes_its_mean_and_comes_back_four_times():
    grid = TokenGrid(4, 4)
    x = torch.arange(16.0).view(1, 16, 1).square()  # steeper from row to row
    plan = merge_cells(x, grid, 0.2, CELL, "l2_norm", "token_matched", "max")
    assert plan.destinations.tolist() == [[0]]
    reduced = plan.reduce(x)
    assert reduced.shape == (1, 13, 1)
    restored = plan.restore(reduced).view(4, 4)
    mean = (0 + 1 + 16 + 25) / 4
    assert torch.equal(restored[:2, :2], torch.full((2, 2), mean))
    assert torch.equal(restored.flatten()[[2, 3, 6, 7]], x.flatten()[[2, 3, 6, 7]])


def test_aggregates_differ_and_the_strip_is_kept():
    grid = TokenGrid(5, 4)
    scores = torch.tensor([[9.0, 0, 5, 5, 0, 0, 5, 5, 8, 8, 8, 8, 8, 8, 8, 8, 0, 0, 0, 0]])
    x = scores.view(1, 20, 1)
    by_max = merge_cells(x, grid, 0.15, CELL, "l1_norm", "token_matched", "max")
    by_mean = merge_cells(x, grid, 0.15, CELL, "l1_norm", "token_matched", "mean")
    assert by_max.destinations.tolist() == [[2]]
    assert by_mean.destinations.tolist() == [[0]]
    assert {16, 17, 18, 19} <= set(by_max.kept[0].tolist())


@pytest.mark.parametrize(
    ("ratio", "kept"), zip((0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7), (3688, 3277, 2869, 2458, 2050, 1639, 1231), strict=True)
)
def test_token_counts_of_adaptive_block_merge(ratio, kept):
    assert METHODS["bigain_tm_block"].tokens_left(ratio, 64, 64) == (kept, kept)
    x = random_tokens(TokenGrid(64, 64), batch=1, channels=2)
    options = METHODS["bigain_tm_block"].options
    assert merge_cells(x, TokenGrid(64, 64), ratio, **options).reduce(x).shape[1] == kept


def test_algorithm_3_merges_a_fraction_of_the_cells():
    assert method_of("bigain_tm_block~rule-tile_fraction").tokens_left(0.7, 64, 64)[0] == 4096 - 3 * 716


def test_the_quantile_rule_merges_the_cells_that_lie_below_it_in_every_sample():
    """Section 3.2.1: a cell is pooled if its highest score is below the quantile of all scores."""
    grid, x = TokenGrid(4, 4), torch.zeros(2, 16, 1)
    x[0] = torch.arange(16.0).view(16, 1)  # cells end in 5, 7, 13, 15
    x[1, :, 0] = torch.tensor([0.0, 9, 9, 9, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9])
    plan = merge_cells(x, grid, 0.5, CELL, "l1_norm", "quantile", "max")
    assert plan.tokens_left == [16 - 2 * 3, 16]  # the median is 7.5, then 9
    y = plan.around(lambda tokens: tokens, x)
    assert torch.equal(y[1], x[1])
    assert y[0, :8, 0].tolist() == [2.5, 2.5, 4.5, 4.5, 2.5, 2.5, 4.5, 4.5]
    assert torch.equal(y[0, 8:], x[0, 8:])
    alone = merge_cells(x[:1], grid, 0.5, CELL, "l1_norm", "quantile", "max")
    assert torch.equal(alone.around(lambda tokens: tokens, x[:1]), y[:1])


@pytest.mark.parametrize("quantile", [0.0, 0.3, 0.7, 0.95])
def test_the_quantile_rule_leaves_no_fewer_tokens_than_planned(quantile):
    method = method_of("bigain_tm_block~rule-quantile")
    plan = merge_cells(random_tokens(GRID), GRID, quantile, **method.options)
    assert min(plan.tokens_left) >= method.tokens_left(quantile, 16, 16)[0]
    smooth = torch.arange(256.0).view(1, 256, 1)
    by_score = method_of("bigain_tm_block~rule-quantile~score-l1_norm").options
    fewest = merge_cells(smooth, TokenGrid(64, 4), 0.5, **by_score).tokens_left
    assert fewest == [method.tokens_left(0.5, 64, 4)[0]]
