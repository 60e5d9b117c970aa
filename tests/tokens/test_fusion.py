"""ToFu: averages with the largest norm of their tokens, and pruning in the first blocks."""

import pytest
import torch

import bigain
from bigain.tokens import PrunePlan, TokenGrid
from bigain.tokens.draws import uniform_places
from bigain.tokens.fusion import NormPlan, fuse
from bigain.tokens.merge import merge_random
from tests.helpers.models import run_dit
from tests.helpers.tokens import random_tokens

CELL, GRID = (2, 2), TokenGrid(8, 8)
OFFSETS = uniform_places(torch.arange(2), 7, 16, 4)


def test_a_mean_has_the_direction_of_the_average_and_the_largest_norm_of_its_tokens():
    """By hand: (3, 0), (0, 4) and (0, 2) have the mean (1, 2) and the largest norm 4; (5, 0) receives nothing."""
    index = [torch.tensor([row]) for row in ([4], [1, 2], [0, 0], [0, 3])]
    x = torch.tensor([[[3.0, 0], [0, 4], [0, 2], [5, 0], [7, 1]]])
    expected = torch.tensor([[7.0, 1], [4 / 5**0.5, 8 / 5**0.5], [5, 0]])
    torch.testing.assert_close(NormPlan(*index).reduce(x)[0], expected)


@pytest.mark.parametrize("size", [1, 8, 1e4])
def test_tokens_that_cancel_stay_zero(size):
    index = [torch.tensor([row], dtype=torch.int64) for row in ([], [1], [0], [0])]
    assert torch.equal(NormPlan(*index).reduce(size * torch.tensor([[[2.0, 1], [-2, -1]]])), torch.zeros(1, 1, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_later_blocks_merge_what_tome_merges_and_keep_the_norm(dtype):
    x = random_tokens(GRID)
    fused, tome = fuse(x, GRID, 0.5, CELL, OFFSETS, 0.5, 0.5), merge_random(x, GRID, 0.5, CELL, OFFSETS)
    assert isinstance(fused, NormPlan)
    assert torch.equal(fused.place(), tome.place())
    short, mean = fused.reduce(x.to(dtype)), tome.reduce(x.to(dtype))
    assert short.dtype == dtype
    torch.testing.assert_close(torch.cosine_similarity(short, mean, dim=-1), torch.ones(2, 32).to(dtype))
    for row, place in enumerate(fused.place()):  # the largest norm of every group, token by token
        norms = [max(x[row, t].norm() for t in range(64) if place[t] == left) for left in range(32)]
        tolerance = {} if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.02}
        torch.testing.assert_close(short[row].float().norm(dim=-1), torch.stack(norms), **tolerance)


def test_first_blocks_drop_the_sources_that_later_blocks_merge():
    x = random_tokens(GRID)
    pruned, tome = fuse(x, GRID, 0.5, CELL, OFFSETS, 0.49, 0.5), merge_random(x, GRID, 0.5, CELL, OFFSETS)
    assert isinstance(pruned, PrunePlan)
    assert torch.equal(pruned.reduce(x), x.gather(1, tome.left.unsqueeze(-1).expand(-1, -1, x.shape[-1])))
    y = random_tokens(TokenGrid(8, 4), seed=3)
    assert torch.equal(pruned.restore(y), tome.restore(y))


def test_rows_of_a_plan_keep_its_kind():
    plan = fuse(random_tokens(GRID), GRID, 0.5, CELL, OFFSETS, 0.9, 0.5)
    assert isinstance(plan.of_rows(torch.tensor([1, 1])), NormPlan)


def test_on_a_model_the_first_half_of_all_blocks_prunes(dit):
    made = []
    with bigain.compressed(dit, "tofu", ratio=0.5, blocks=(1, 2, 3)) as attachment:
        operator = attachment.operator
        attachment.operator = lambda *args, **options: made.append(operator(*args, **options)) or made[-1]
        run_dit(dit)
        assert [site.depth for site in attachment.sites] == [0.25, 0.5, 0.75]
    assert [type(plan) for plan in made] == [PrunePlan, NormPlan, NormPlan]
    with pytest.raises(ValueError, match="unknown option 'plan_for'"):
        bigain.apply(dit, "tofu~plan_for-model", ratio=0.5)


@pytest.mark.parametrize(("merges_from", "kind"), [(0, NormPlan), (1, PrunePlan)])
def test_an_id_says_from_where_blocks_merge(dit, merges_from, kind):
    with bigain.compressed(dit, f"tofu~merges_from-{merges_from}", ratio=0.5, blocks=(0, 3)) as attachment:
        operator, made = attachment.operator, []
        attachment.operator = lambda *args, **options: made.append(operator(*args, **options)) or made[-1]
        run_dit(dit)
    assert {type(plan) for plan in made} == {kind}
