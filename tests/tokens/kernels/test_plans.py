"""Whole plans and whole models: what kernels compute is what torch computes, but for near-ties."""

import copy

import pytest
import torch

import bigain
from bigain.methods.counts import largest_ratio
from bigain.tokens import TokenGrid, blocks, merge
from tests.helpers.methods import COMPRESSING_TOKENS, arguments_for
from tests.helpers.models import RUN, traced
from tests.helpers.quick import in_turn
from tests.helpers.torch_path import DTYPES, GRIDS, tokens_of, torch_path

NAMES = ("kept", "merged", "destinations")


def build(kind, x, grid, ratio):
    if kind == "random":
        cells = len(grid.cell_tokens((2, 2)))
        offsets = torch.randint(4, (1, cells), generator=torch.Generator().manual_seed(3))
        return merge.merge_random(x, grid, ratio, (2, 2), offsets)
    if kind == "top_left":
        return merge.merge_top_left(x, grid, ratio, (2, 2))
    if kind == "cells":
        return blocks.merge_cells(x, grid, ratio, (2, 2), "laplacian_l1", "token_matched", "max")
    protect = 0.1 if kind == "protected" and ratio < 0.6 else 0.0
    return merge.merge_smooth(
        x, grid, ratio, (2, 2), "laplacian_l2" if kind == "l2" else "laplacian_l1", protect=protect
    )


KINDS = ["random", "top_left", "smooth", "l2", "protected", "cells"]
SIZES = [(GRIDS[0], 0.0), (GRIDS[2], 0.5), (GRIDS[1], "largest")]


@pytest.mark.parametrize(("k", "kind"), in_turn(range(len(DTYPES)), KINDS))
def test_a_plan_merges_the_tokens_that_torch_merges(kind, k):
    """Every kind in every precision; over three kinds, every precision meets every size."""
    dtype, (grid, ratio) = DTYPES[k], SIZES[(k + KINDS.index(kind)) % len(SIZES)]
    x = torch.randn(2, grid.tokens, 24, generator=torch.Generator().manual_seed(5)).to(dtype)
    if ratio == "largest":
        cells = (grid.height // 2) * (grid.width // 2)
        ratio = 3 * cells / grid.tokens if kind == "cells" else largest_ratio(grid.height, grid.width, (2, 2))
    plan = build(kind, x, grid, ratio)
    with torch_path():
        expected = build(kind, x, grid, ratio)
        short = expected.reduce(x.double())
    for name in NAMES:
        assert torch.equal(getattr(plan, name).sort(dim=1).values, getattr(expected, name).sort(dim=1).values), name
    torch.testing.assert_close(plan.reduce(x).double(), short, rtol=8e-3, atol=8e-3)
    assert torch.equal(plan.restore(plan.reduce(x)), plan.reduce(x).gather(1, plan.place()[..., None].expand_as(x)))


def test_five_rows_are_five_plans():
    grid = TokenGrid(9, 7)
    x = tokens_of(grid, 5, 16, torch.bfloat16)
    plan = merge.merge_smooth(x, grid, 0.5, (2, 2), "laplacian_l1")
    for k in (0, 3, 4):
        single = merge.merge_smooth(x[k : k + 1], grid, 0.5, (2, 2), "laplacian_l1")
        assert torch.equal(plan.reduce(x)[k : k + 1], single.reduce(x[k : k + 1]))


# The best of k plans is k times what it chooses from.
QUICK = [id for id in COMPRESSING_TOKENS if id not in ("bigain_tm_cached", "best_plan")]
SLOW = [pytest.param(family, "best_plan", marks=pytest.mark.system) for family in ("unet", "dit")]


@pytest.mark.parametrize(("family", "method"), [*in_turn(("unet", "dit"), QUICK), *SLOW])
def test_a_model_computes_with_kernels_what_it_computes_with_torch(family, method):
    network, where = traced(family, method)
    outputs = []
    for kernels_run in (True, False):
        model = copy.deepcopy(network)
        with torch.no_grad(), bigain.compressed(model, method, **arguments_for(method), **where):
            if kernels_run:
                outputs.append(RUN[family](model))
            else:
                with torch_path():
                    outputs.append(RUN[family](model))
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-5)
