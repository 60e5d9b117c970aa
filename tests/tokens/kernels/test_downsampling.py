"""Downsampling: nearest bit for bit, averages and blends as float64 computes them."""

import pytest
import torch

from bigain.tokens import TokenGrid
from bigain.tokens.downsample import average, interpolate_extrapolate, nearest
from tests.helpers.quick import in_turn
from tests.helpers.torch_path import DTYPES, GRIDS, tokens_of, torch_path

ROUNDING = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}


CASES = [(grid, factor) for grid in GRIDS[:3] for factor in (1, 2, 3, 5)] + [(TokenGrid(31, 47), 4)]


@pytest.mark.parametrize(
    ("grid", "factor", "site"), in_turn(CASES, ("nearest_exact", "top_left", "cell_centre"), every=3)
)
def test_nearest_picks_torchs_tokens(grid, factor, site):
    dtype = DTYPES[factor % 3]
    x = tokens_of(grid, 2, 5, dtype)
    with torch_path():
        expected = nearest(x, grid, factor, site)
    assert torch.equal(nearest(x, grid, factor, site), expected)


@pytest.mark.parametrize(("dtype", "grid", "factor"), in_turn(DTYPES, GRIDS[1:3], (2, 3)))
def test_averages_and_blends_are_rounded_once(dtype, grid, factor):
    x = tokens_of(grid, 3, 70, dtype)
    alphas = torch.tensor([0.0, 0.9, 1.3])
    with torch_path():
        exact = x.double()
        averages = average(exact, grid, factor)
        blends = [interpolate_extrapolate(exact, grid, factor, alpha) for alpha in (0.9, alphas.double(), alphas[1])]
    close = {"rtol": ROUNDING[dtype], "atol": ROUNDING[dtype]}
    torch.testing.assert_close(average(x, grid, factor).double(), averages, **close)
    for alpha, blend in zip((0.9, alphas, alphas[1]), blends, strict=True):
        torch.testing.assert_close(interpolate_extrapolate(x, grid, factor, alpha).double(), blend, **close)
