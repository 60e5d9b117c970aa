"""Merging: closed forms, identities, limits."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigain.tokens import TokenGrid, matching, merge
from bigain.tokens.scores import SCORES
from tests.helpers.tokens import random_tokens

CELL = (2, 2)
GRID = TokenGrid(16, 16)


@pytest.mark.parametrize("grid", [TokenGrid(16, 16), TokenGrid(9, 7), TokenGrid(18, 26)])
@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("operator", ["random", "top_left", "smooth", "shuffled"])
def test_reduce_and_restore_have_the_right_shapes_and_restore_what_was_kept(grid, ratio, operator):
    x = random_tokens(grid)
    plan = build(operator, x, grid, ratio)
    reduced = plan.reduce(x)
    removed = int(grid.tokens * ratio)
    assert reduced.shape == (2, grid.tokens - removed, 5)
    restored = plan.restore(reduced)
    assert restored.shape == x.shape
    for b in range(2):
        assert torch.equal(restored[b, plan.kept[b]], x[b, plan.kept[b]])
    if ratio == 0:
        assert torch.equal(restored, x)


def build(operator, x, grid, ratio):
    if operator == "random":
        cells = len(grid.cell_tokens(CELL))
        offsets = torch.randint(4, (1, cells), generator=torch.Generator().manual_seed(3))
        return merge.merge_random(x, grid, ratio, CELL, offsets)
    if operator == "top_left":
        return merge.merge_top_left(x, grid, ratio, CELL)
    if operator == "shuffled":
        order = torch.rand(1, grid.tokens, generator=torch.Generator().manual_seed(3))
        return merge.merge_shuffled(x, grid, ratio, CELL, "laplacian_l1", order)
    return merge.merge_smooth(x, grid, ratio, CELL, "laplacian_l1")


def test_a_destination_is_the_equal_weight_mean_of_itself_and_its_sources():
    """2x2 cells on 2x4 tokens: both merged sources point along destination 0, so it becomes the mean of three."""
    x = torch.tensor([[[1.0, 0], [1, 0.1], [0, 1], [-1, 1], [1, 0.05], [-1, 0], [-1, -1], [-1, 0.5]]])
    plan = merge.soft_matching(x, torch.tensor([[0, 2]]), removed=2)
    assert sorted(plan.merged[0].tolist()) == [1, 4]
    assert plan.target[0].tolist() == [0, 0]
    received = plan.reduce(x)[0, -2]
    assert torch.allclose(received, torch.tensor([1.0, 0.05]))
    restored = plan.restore(plan.reduce(x))[0]
    assert torch.equal(restored[1], restored[0])
    assert torch.equal(restored[4], restored[0])
    assert torch.equal(restored[2], x[0, 2])


def test_ties_go_to_the_lowest_index():
    x = torch.ones(1, 16, 3)
    plan = merge.merge_smooth(torch.zeros(1, 16, 3), TokenGrid(4, 4), 0.25, CELL, "laplacian_l1")
    assert plan.destinations[0].tolist() == [0, 2, 8, 10]
    plan = merge.soft_matching(x, plan.destinations, 4)
    assert plan.merged[0].tolist() == [1, 3, 4, 5]
    assert plan.target[0].tolist() == [0, 0, 0, 0]


def test_a_zero_vector_gives_no_nan():
    x = random_tokens(TokenGrid(4, 4))
    x[:, 3] = 0
    plan = merge.merge_top_left(x, TokenGrid(4, 4), 0.75, CELL)
    assert torch.isfinite(plan.reduce(x)).all()


def test_a_spike_is_no_destination_by_lowest_score_and_one_by_highest():
    """|Laplacian| is 4 at the spike and 1 above, below, left and right of it; the three other cells have no detail."""
    x = torch.zeros(1, 16, 1)
    x[0, 5] = 1
    grid = TokenGrid(4, 4)
    lowest, highest = (
        merge.merge_smooth(x, grid, 0.25, CELL, "laplacian_l1", rule).destinations[0].tolist()
        for rule in ("cell_argmin", "cell_argmax")
    )
    assert lowest == [0, 2, 8, 10]
    assert highest == [5, 6, 9, 10]


def test_shuffled_scores_pick_the_destinations_that_their_new_places_say():
    """The i-th token gets the score of the i-th highest of `order`: reversed, the spike's detail is at its mirror
    image, token 10; in descending order, nothing moves."""
    x = torch.zeros(1, 16, 1)
    x[0, 5] = 1
    grid, ascending = TokenGrid(4, 4), torch.arange(16.0).unsqueeze(0)
    assert matching.shuffled(torch.arange(16.0).unsqueeze(0), ascending)[0].tolist() == list(range(15, -1, -1))
    moved = merge.merge_shuffled(x, grid, 0.25, CELL, "laplacian_l1", ascending)
    assert moved.destinations[0].tolist() == [0, 2, 8, 15]
    unmoved = merge.merge_shuffled(x, grid, 0.25, CELL, "laplacian_l1", -ascending)
    assert torch.equal(unmoved.destinations, merge.merge_smooth(x, grid, 0.25, CELL, "laplacian_l1").destinations)


def test_shuffled_destinations_are_every_token_of_a_cell_equally_often():
    x = random_tokens(GRID, batch=1, seed=5).expand(500, -1, -1)
    order = torch.randn(500, GRID.tokens, generator=torch.Generator().manual_seed(0))
    plan = merge.merge_shuffled(x, GRID, 0.5, CELL, "laplacian_l1", order)
    in_cell = plan.destinations // 16 % 2 * 2 + plan.destinations % 2
    shares = torch.bincount(in_cell.flatten(), minlength=4) / in_cell.numel()
    assert (shares - 0.25).abs().max() < 4 * (0.25 * 0.75 / in_cell.numel()) ** 0.5


def test_samples_do_not_see_each_other():
    grid = TokenGrid(8, 8)
    x = random_tokens(grid, batch=4)
    together = merge.merge_smooth(x, grid, 0.6, CELL, "laplacian_l1").reduce(x)
    for b in range(4):
        alone = merge.merge_smooth(x[b : b + 1], grid, 0.6, CELL, "laplacian_l1").reduce(x[b : b + 1])
        assert torch.equal(together[b], alone[0])


@pytest.mark.parametrize("grid", [TokenGrid(16, 16), TokenGrid(9, 7), TokenGrid(12, 20)])
@pytest.mark.parametrize("cell", [(2, 2), (4, 4), (2, 3)])
@pytest.mark.parametrize("ratio", [0.2, 0.6])
def test_tomesd_s_own_operator_merges_the_same_tokens(grid, cell, ratio):
    from tomesd.merge import bipartite_soft_matching_random2d

    x = random_tokens(grid, batch=3, channels=8)
    removed = int(grid.tokens * ratio)
    peer_merge, peer_unmerge = bipartite_soft_matching_random2d(
        x, grid.width, grid.height, cell[1], cell[0], removed, no_rand=True
    )
    plan = merge.merge_top_left(x, grid, ratio, cell)
    # The order of the reduced tokens is tomesd's unstable sort's; attention does not see it, restoring undoes it.
    assert plan.reduce(x).shape == peer_merge(x).shape
    assert torch.allclose(plan.restore(plan.reduce(x)), peer_unmerge(peer_merge(x)), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(height=st.integers(2, 9), width=st.integers(2, 9), ratio=st.floats(0, 0.5), seed=st.integers(0, 99))
def test_every_token_is_in_exactly_one_role(height, width, ratio, seed):
    grid = TokenGrid(height, width)
    x = random_tokens(grid, batch=1, seed=seed)
    plan = merge.merge_smooth(x, grid, ratio, CELL, "laplacian_l1")
    places = torch.cat([plan.kept, plan.merged, plan.destinations], dim=1)
    assert sorted(places[0].tolist()) == list(range(grid.tokens))
    total = plan.reduce(torch.ones(1, grid.tokens, 1))
    assert torch.allclose(total, torch.ones_like(total))


def test_protected_tokens_are_merged_into_no_other():
    x = random_tokens(GRID)
    plan = merge.merge_smooth(x, GRID, 0.3, CELL, "laplacian_l1", protect=0.25)
    highest = SCORES["laplacian_l1"](x, GRID).argsort(dim=1, descending=True, stable=True)[:, :64]
    assert plan.merged.shape == (2, int(256 * 0.3))
    for merged, protected in zip(plan.merged, highest, strict=True):
        assert not set(merged.tolist()) & set(protected.tolist())
    with pytest.raises(ValueError, match="64 protected tokens only 128"):
        merge.merge_smooth(x, GRID, 0.6, CELL, "laplacian_l1", protect=0.25)


@pytest.mark.parametrize("destinations", ["cell_argmin", "cell_argmax"])
@pytest.mark.parametrize("protect", [0.05, 0.3])
def test_protected_tokens_keep_their_value(destinations, protect):
    """Also where they are destinations: of a cell all of whose tokens are protected."""
    x = random_tokens(GRID)
    x[:, :64] *= 100  # whole cells of the highest scores
    plan = merge.merge_smooth(x, GRID, 0.4, CELL, "laplacian_l1", destinations, protect)
    restored = plan.restore(plan.reduce(x))
    protected = SCORES["laplacian_l1"](x, GRID).argsort(dim=1, descending=True, stable=True)[:, : int(256 * protect)]
    for before, after, tokens in zip(x, restored, protected, strict=True):
        assert torch.equal(before[tokens], after[tokens])
    assert plan.merged.shape[1] == int(256 * 0.4)


def test_similarities_computed_in_chunks_give_the_same_plan(monkeypatch):
    x = random_tokens(GRID)
    whole = merge.merge_smooth(x, GRID, 0.5, CELL, "laplacian_l1")
    monkeypatch.setattr(matching, "SIMILARITIES", 1000)
    chunked = merge.merge_smooth(x, GRID, 0.5, CELL, "laplacian_l1")
    assert torch.equal(whole.merged, chunked.merged)
    assert torch.equal(whole.target, chunked.target)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [1.5, 20000.0])
def test_many_tokens_are_averaged_in_full_precision(dtype, value):
    """In halves, a sum of 400 tokens of 20,000 is infinite, and a count of 400 members has no place for one more."""
    grid = TokenGrid(32, 32)
    x = torch.full((1, grid.tokens, 4), value, dtype=dtype)
    plan = merge.merge_top_left(x, grid, 0.7, CELL)
    plan = dataclasses.replace(plan, target=torch.zeros_like(plan.target))
    assert plan.sizes.max() > 700
    assert torch.equal(plan.reduce(x), torch.full_like(plan.reduce(x), x[0, 0, 0].item()))


def test_an_average_of_halves_is_rounded_once():
    grid = TokenGrid(16, 16)
    x = random_tokens(grid).to(torch.bfloat16)
    plan = merge.merge_top_left(x, grid, 0.7, CELL)
    assert torch.equal(plan.reduce(x), plan.reduce(x.float()).to(torch.bfloat16))
