"""The random plan: every token in one role, and every choice equally likely."""

import pytest
import torch

from bigain.tokens import TokenGrid
from bigain.tokens.controls import merge_blindly
from bigain.tokens.draws import bits
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
