"""The paper's other operators: released destinations, protection, whole cells, pruning, extreme keys."""

import pytest
import torch

from bigain.methods.ids import method_of
from bigain.methods.presets import METHODS
from bigain.tokens import TokenGrid, matching
from bigain.tokens.blocks import merge_cells
from bigain.tokens.downsample import most_detailed, smoothest
from bigain.tokens.merge import merge_smooth
from bigain.tokens.prune import prune_similar
from bigain.tokens.scores import SCORES

CELL = (2, 2)
GRID = TokenGrid(16, 16)


def tokens(grid=GRID, batch=2, channels=5, seed=0):
    return torch.randn(batch, grid.tokens, channels, generator=torch.Generator().manual_seed(seed))


def sito(x, ratio, noise, **changes):
    return prune_similar(x, GRID, ratio, **{**METHODS["sito"].options, "noise": noise, **changes})


@pytest.mark.parametrize("width", [64, 16])
def test_official_v1_is_its_description(width):
    """In a two-row band, "cell" k looks at 4 consecutive pixels: of the upper row in the first half, then the lower;
    the place found there is used in the real 2x2 cell k."""
    grid = TokenGrid(width, width)
    scores = torch.randn(1, grid.tokens, generator=torch.Generator().manual_seed(1))
    found = matching.official_v1(scores, grid, CELL)[0].tolist()
    image, half, expected = scores.view(width, width), width // 4, []
    for band in range(width // 2):
        for k in range(width // 2):
            row, column = (2 * band, 4 * k) if k < half else (2 * band + 1, 4 * (k - half))
            place = int(image[row, column : column + 4].argmin())
            expected.append((2 * band + place // 2) * width + 2 * k + place % 2)
    assert found == expected
    assert found != matching.cell_argmin(scores, grid, CELL)[0].tolist()


def test_official_v1_refuses_a_strip():
    with pytest.raises(ValueError, match="whole cells"):
        matching.official_v1(torch.zeros(1, 15), TokenGrid(3, 5), CELL)


def test_protected_tokens_are_merged_into_no_other():
    x = tokens()
    plan = merge_smooth(x, GRID, 0.3, CELL, "laplacian_l1", protect=0.25)
    highest = SCORES["laplacian_l1"](x, GRID).argsort(dim=1, descending=True, stable=True)[:, :64]
    assert plan.merged.shape == (2, int(256 * 0.3))
    for merged, protected in zip(plan.merged, highest, strict=True):
        assert not set(merged.tolist()) & set(protected.tolist())
    with pytest.raises(ValueError, match="64 protected tokens only 128"):
        merge_smooth(x, GRID, 0.6, CELL, "laplacian_l1", protect=0.25)


def test_chunked_similarity_is_the_whole_one(monkeypatch):
    x = tokens()
    whole = merge_smooth(x, GRID, 0.5, CELL, "laplacian_l1")
    monkeypatch.setattr(matching, "SIMILARITIES", 1000)
    chunked = merge_smooth(x, GRID, 0.5, CELL, "laplacian_l1")
    assert torch.equal(whole.merged, chunked.merged)
    assert torch.equal(whole.target, chunked.target)


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
    x = tokens(TokenGrid(64, 64), batch=1, channels=2)
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
    plan = merge_cells(tokens(), GRID, quantile, **method.options)
    assert min(plan.tokens_left) >= method.tokens_left(quantile, 16, 16)[0]
    smooth = torch.arange(256.0).view(1, 256, 1)
    by_score = method_of("bigain_tm_block~rule-quantile~score-l1_norm").options
    fewest = merge_cells(smooth, TokenGrid(64, 4), 0.5, **by_score).tokens_left
    assert fewest == [method.tokens_left(0.5, 64, 4)[0]]


def test_pruning_in_pieces_is_pruning_at_once(monkeypatch):
    x = tokens(batch=3)
    noise = torch.randn(3, 256, generator=torch.Generator().manual_seed(3))
    whole = sito(x, 0.5, noise)
    for limit in (2 * 256**2, 256**2, 1000):  # two samples at once, one, pieces of one
        monkeypatch.setattr(matching, "SIMILARITIES", limit)
        parts = sito(x, 0.5, noise)
        for name in ("kept", "pruned", "target"):
            assert torch.equal(getattr(whole, name), getattr(parts, name))


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.75])
def test_pruning_without_the_gram_matrix_is_the_same(ratio):
    x = tokens(batch=3)
    noise = torch.randn(3, 256, generator=torch.Generator().manual_seed(3))
    whole = sito(x, ratio, noise)
    quick = sito(x, ratio, noise, full_gram=False)
    for name in ("kept", "pruned", "target"):
        assert torch.equal(getattr(whole, name), getattr(quick, name))


def test_pruning_drops_the_most_redundant_and_copies_from_the_most_similar_kept():
    """Four orthogonal directions, one a cell; one cell holds a near copy of its neighbour's direction."""
    grid = TokenGrid(4, 4)
    x = torch.zeros(1, 16, 16)
    x[0, range(16), range(16)] = 1  # all different ...
    x[0, 5] = x[0, 0] * 2  # ... but 5 points as 0 does, in the same cell
    noise = torch.zeros(1, 16)
    plan = prune_similar(x, grid, 1 / 16, CELL, similarity_weight=1.0, noise_weight=0.1, noise=noise)
    assert plan.pruned.tolist() == [[5]]  # 0 is the base: both have the highest sum, the first wins
    y = plan.restore(plan.reduce(x))
    assert torch.equal(y[0, 5], x[0, 0])
    assert torch.equal(y[0, :5], x[0, :5])
    assert plan.reduce(x).shape == (1, 15, 16)


def test_a_pruned_token_may_copy_from_a_kept_token_that_is_no_base():
    grid = TokenGrid(2, 2)
    x = torch.tensor([[[1.0, 0.0], [1.0, 0.05], [1.0, 0.3], [1.0, 0.31]]])
    plan = prune_similar(x, grid, 0.25, CELL, similarity_weight=1.0, noise_weight=0.0, noise=torch.zeros(1, 4))
    pruned, source = int(plan.pruned[0, 0]), int(plan.kept[0, plan.target[0, 0]])
    cosine = torch.nn.functional.cosine_similarity(x[0, pruned].expand(4, 2), x[0], dim=-1)
    cosine[pruned] = -1
    assert source == int(cosine.argmax())


def test_noise_moves_the_base_tokens():
    x = tokens()
    quiet, loud = torch.zeros(2, 256), 1e4 * torch.randn(2, 256, generator=torch.Generator().manual_seed(3))
    first, second = (sito(x, 0.5, noise) for noise in (quiet, loud))
    assert not torch.equal(first.pruned, second.pruned)


def test_extreme_keys_are_the_extremes_in_token_order():
    x = torch.tensor([5.0, -1, 3, 9, 0, 2, 2, 7, 1]).view(1, 9, 1)
    grid = TokenGrid(3, 3)
    assert most_detailed(x, grid, 2, "l1_norm").flatten().tolist() == [9]
    x, grid = torch.tensor([[4.0, 1, 3, 2] * 4]).view(1, 16, 1), TokenGrid(4, 4)
    assert most_detailed(x, grid, 2, "l1_norm").flatten().tolist() == [4, 4, 4, 4]
    assert smoothest(x, grid, 2, "l1_norm").flatten().tolist() == [1, 1, 1, 1]
    assert smoothest(x, grid, 4, "l1_norm").shape == (1, 1, 1)
