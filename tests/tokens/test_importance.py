"""Importance-based merging: destinations among the most important tokens, and the others merged first."""

import pytest
import torch

from bigain.tokens import TokenGrid
from bigain.tokens.draws import bits
from bigain.tokens.importance import merge_unimportant
from tests.helpers.tokens import random_tokens

CELL, GRID = (2, 2), TokenGrid(8, 8)
INTEGERS = bits(torch.arange(3), 7, 192).unflatten(1, (3, 64))


def merged(x, importance, ratio=0.5, pool=0.5, integers=INTEGERS):
    return merge_unimportant(x, GRID, ratio, CELL, pool, importance, integers)


@pytest.mark.parametrize(("ratio", "pool"), [(0.3, 0.5), (0.5, 0.5), (0.6, 0.75), (0.7, 0.1)])
def test_the_plan_is_that_of_a_search_over_all_tokens(ratio, pool):
    x, importance = random_tokens(GRID, batch=3), torch.rand(3, 64, generator=torch.Generator().manual_seed(1))
    plan = merged(x, importance, ratio, pool)
    size, unit = max(16, int(64 * pool)), x / x.norm(dim=-1, keepdim=True)
    for row in range(3):
        important = sorted(range(64), key=lambda t: -importance[row, t])[:size]
        draw = INTEGERS[row, 1].float()
        chosen = sorted(sorted(important, key=lambda t: -draw[t])[:16])
        assert plan.destinations[row].tolist() == chosen
        best = {t: max((unit[row, t] @ unit[row, d]).item() for d in chosen) for t in range(64) if t not in chosen}
        order = sorted(best, key=lambda t: (t in important, -best[t]))
        assert set(plan.merged[row].tolist()) == set(order[: int(64 * ratio)])
        for token, place in zip(plan.merged[row].tolist(), plan.target[row].tolist(), strict=True):
            assert (unit[row, token] @ unit[row, chosen[place]]).item() == pytest.approx(best[token])


def test_the_draw_from_the_pool_is_uniform():
    seeds = 2000
    integers = bits(torch.arange(seeds), 7, 192).unflatten(1, (3, 64))
    importance = torch.arange(64.0).expand(seeds, -1)
    plan = merged(random_tokens(GRID, batch=1).expand(seeds, -1, -1), importance, integers=integers)
    share = plan.destinations.flatten().bincount(minlength=64) / seeds
    assert share[:32].max() == 0
    assert share[32:].sub(0.5).abs().max() < 0.05


def test_without_importance_every_cell_has_a_random_destination():
    plan = merged(random_tokens(GRID, batch=3), None)
    cells = GRID.cell_tokens(CELL)
    assert (plan.destinations[:, :, None, None] == cells).any(-1).sum(1).eq(1).all()
    assert not torch.equal(plan.destinations[0], plan.destinations[1])
