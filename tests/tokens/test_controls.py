"""The random plan: one role a token, every choice equally likely. The best of k plans: none of them has less error."""

from itertools import pairwise

import pytest
import torch

from bigain.methods.ids import method_of
from bigain.tokens import TokenGrid
from bigain.tokens.controls import merge_best, merge_blindly
from bigain.tokens.draws import bits, uniform_places
from bigain.tokens.merge import merge_random
from tests.helpers.tokens import random_tokens

CELL, GRID = (2, 2), TokenGrid(8, 8)


def plan_of(seeds, ratio=0.5, grid=GRID):
    integers = bits(torch.arange(seeds), 7, 3 * grid.tokens).unflatten(1, (3, grid.tokens))
    return merge_blindly(random_tokens(grid, batch=seeds), grid, ratio, CELL, integers)


@pytest.mark.parametrize("grid", [GRID, TokenGrid(9, 7)])
def test_every_token_has_one_role_and_every_cell_a_destination(grid):
    plan = plan_of(3, 0.5, grid)
    every = torch.cat([plan.kept, plan.merged, plan.destinations], dim=1).sort(dim=1).values
    assert torch.equal(every, torch.arange(grid.tokens).expand(3, -1))
    cells = grid.cell_tokens(CELL)
    assert (plan.destinations[:, :, None, None] == cells).any(-1).sum(1).eq(1).all()
    assert int(grid.tokens * 0.5) == plan.merged.shape[1]


def test_choices_are_uniform():
    plan = plan_of(2000)
    cells = GRID.cell_tokens(CELL)
    place = (plan.destinations[:, None, :, None] == cells[None, :, None, :]).any(2).float().mean(dim=(0, 1))
    assert place.sub(0.25).abs().max() < 0.01
    share = plan.target.flatten().bincount(minlength=16) / plan.target.numel()
    assert share.sub(1 / 16).abs().max() < 0.003
    merged = torch.zeros(2000, 64).scatter(1, plan.merged, 1.0).mean(dim=0)
    assert merged.sub(0.5).abs().max() < 0.05


def test_tokens_do_not_matter_and_seeds_do():
    integers = bits(torch.arange(2), 7, 192).unflatten(1, (3, 64))
    one, other = (merge_blindly(random_tokens(GRID, seed=seed), GRID, 0.5, CELL, integers) for seed in (0, 1))
    assert torch.equal(one.place(), other.place())
    assert not torch.equal(one.place()[0], one.place()[1])


def error_of(plan, x):
    return (x - plan.restore(plan.reduce(x))).square().sum(dim=(1, 2))


@pytest.mark.parametrize("grid", [GRID, TokenGrid(9, 7)])
def test_the_best_plan_is_the_least_of_all_k_by_enumeration(grid):
    x, cells = random_tokens(grid, batch=3), (grid.height // 2) * (grid.width // 2)
    integers = bits(torch.arange(3), 7, 3 * grid.tokens).unflatten(1, (3, grid.tokens))
    drawn = [integers.flatten(1)[:, j * cells : (j + 1) * cells] % 4 for j in range(8)]
    errors = torch.stack([error_of(merge_random(x, grid, 0.5, CELL, offsets), x) for offsets in drawn])
    best = merge_best(x, grid, 0.5, CELL, 8, integers)
    torch.testing.assert_close(error_of(best, x), errors.min(dim=0).values)
    assert len(set(errors.argmin(dim=0).tolist())) > 1, "samples that choose alike would show nothing"
    for row, choice in enumerate(errors.argmin(dim=0).tolist()):
        chosen = merge_random(x, grid, 0.5, CELL, drawn[choice])
        assert torch.equal(best.place()[row], chosen.place()[row])


def test_the_best_of_one_is_tome_and_more_candidates_are_never_worse():
    x = random_tokens(GRID, batch=3)
    integers = bits(torch.arange(3), 7, 192).unflatten(1, (3, 64))
    tome = merge_random(x, GRID, 0.5, CELL, uniform_places(torch.arange(3), 7, 16, 4))
    assert torch.equal(merge_best(x, GRID, 0.5, CELL, 1, integers).place(), tome.place())
    errors = [error_of(merge_best(x, GRID, 0.5, CELL, k, integers), x) for k in range(1, 13)]
    assert all((later <= before).all() for before, later in pairwise(errors))
    assert (errors[-1] < errors[0]).any()


def test_more_plans_than_there_are_draws_for_are_refused():
    integers = bits(torch.arange(3), 7, 192).unflatten(1, (3, 64))
    with pytest.raises(ValueError, match="13 plans are not possible on a 8x8 grid: allowed are 1 to 12"):
        merge_best(random_tokens(GRID, batch=3), GRID, 0.5, CELL, 13, integers)
    with pytest.raises(ValueError, match="13 plans are not possible on a 8x8 grid"):
        method_of("best_plan~k-13").tokens_left(0.5, 8, 8)
