"""Reducing and restoring: means as float64 computes them, copies bit for bit."""

import pytest
import torch

from bigain.tokens import TokenGrid, merge
from tests.helpers.quick import in_turn
from tests.helpers.torch_path import DTYPES, GRIDS, tokens_of, torch_path

ROUNDING = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}


@pytest.mark.parametrize(
    ("dtype", "grid", "ratio"), in_turn(DTYPES, ((GRIDS[0], 0.0), (GRIDS[1], 0.7), (GRIDS[2], 0.3)), every=3)
)
def test_plans_reduce_and_restore_as_torch_does(dtype, grid, ratio):
    x = tokens_of(grid, 3, 70, dtype)
    plan = merge.merge_smooth(x, grid, ratio, (2, 2), "laplacian_l1")
    assert plan.maps is not None
    short = plan.reduce(x)
    with torch_path():
        exact = plan.reduce(x.double())
        assert torch.equal(plan.restore(short), expected := plan.restore(short))
    torch.testing.assert_close(short.double(), exact, rtol=ROUNDING[dtype], atol=ROUNDING[dtype])
    assert torch.equal(short[:, : plan.kept.shape[1]], x.gather(1, plan.kept.unsqueeze(-1).expand(-1, -1, 70)))
    assert torch.equal(plan.restore(short), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, *(pytest.param(d, marks=pytest.mark.system) for d in DTYPES[:2])])
def test_a_constant_map_stays_constant_however_many_tokens_meet(dtype):
    """300 sources in one destination: more than bfloat16 can count."""
    tokens = torch.arange(302).expand(2, -1)
    plan = merge.TokenPlan(
        tokens[:, :1], tokens[:, 2:], torch.zeros(2, 300, dtype=torch.int64), tokens[:, 1:2]
    ).mapped()
    assert torch.equal(plan.reduce(torch.full((2, 302, 5), 1.5, dtype=dtype)), torch.full((2, 2, 5), 1.5, dtype=dtype))


def test_rows_of_a_plan_are_reduced_with_their_maps():
    grid = TokenGrid(8, 8)
    x = tokens_of(grid, 3, 8, torch.float32)
    plan, rows = merge.merge_top_left(x, grid, 0.5, (2, 2)), torch.tensor([2, 0, 2, 1])
    short = plan.of_rows(rows).reduce(x[rows])
    assert torch.equal(short, plan.reduce(x)[rows])
    assert torch.equal(plan.of_rows(rows).restore(short), plan.restore(plan.reduce(x))[rows])


def test_where_a_gradient_flows_back_torch_computes():
    grid = TokenGrid(8, 8)
    x = tokens_of(grid, 1, 8, torch.float32)
    plan = merge.merge_top_left(x, grid, 0.5, (2, 2))
    plan.restore(plan.reduce(y := x.clone().requires_grad_())).sum().backward()
    torch.testing.assert_close(y.grad.sum(), torch.tensor(float(x.numel())))
