"""Downsampling of keys and values: closed forms and identities."""

import pytest
import torch

from bigain.tokens import TokenGrid
from bigain.tokens.downsample import average, interpolate_extrapolate, most_detailed, nearest, reduced_grid, smoothest


def rows(grid, factor):
    """Along the first axis, which rows nearest sampling picks."""
    index = torch.arange(grid.height, dtype=torch.float32).repeat_interleave(grid.width).view(1, -1, 1)
    small = reduced_grid(grid, factor)
    return nearest(index, grid, factor).view(small.height, small.width)[:, 0].int().tolist()


@pytest.mark.parametrize(
    ("factor", "picked"),
    [
        (2, list(range(1, 64, 2))),  # bottom right of every 2x2
        (4, list(range(2, 64, 4))),
        (5, [2, 8, 13, 18, 24, 29, 34, 40, 45, 50, 56, 61]),
        (6, [3, 9, 16, 22, 28, 35, 41, 48, 54, 60]),
        (8, list(range(4, 64, 8))),
    ],
)
def test_nearest_exact_sites(factor, picked):
    assert rows(TokenGrid(64, 64), factor) == picked


@pytest.mark.parametrize(
    ("site", "factor", "picked"),
    [
        ("top_left", 2, list(range(0, 64, 2))),
        ("top_left", 5, [0, 5, 10, 16, 21, 26, 32, 37, 42, 48, 53, 58]),
        ("cell_centre", 2, list(range(1, 64, 2))),
        ("cell_centre", 5, [2 + 5 * i for i in range(12)]),
        ("cell_centre", 6, [3 + 6 * i for i in range(10)]),
    ],
)
def test_other_sites(site, factor, picked):
    grid = TokenGrid(64, 64)
    index = torch.arange(64.0).repeat_interleave(64).view(1, -1, 1)
    sampled = nearest(index, grid, factor, site).view(len(picked), -1)
    assert sampled[:, 0].int().tolist() == picked
    turned = nearest(torch.arange(64.0).repeat(64).view(1, -1, 1), grid, factor, site).view(len(picked), -1)
    assert turned[0].int().tolist() == picked
    only_nearest = interpolate_extrapolate(index, grid, factor, 1.0, site)
    assert torch.equal(only_nearest.view(len(picked), -1), sampled)


@pytest.mark.parametrize(("factor", "keys"), [(2, 1024), (3, 441), (4, 256), (5, 144), (6, 100), (7, 81), (8, 64)])
def test_key_counts_of_the_paper(factor, keys):
    assert reduced_grid(TokenGrid(64, 64), factor).tokens == keys


def test_average_is_the_mean_of_each_window_and_drops_the_remainder():
    grid = TokenGrid(4, 7)
    x = torch.arange(28.0).view(1, 28, 1)
    assert average(x, grid, 2)[0, :, 0].tolist() == [4, 6, 8, 18, 20, 22]


@pytest.mark.parametrize("grid", [TokenGrid(16, 16), TokenGrid(9, 12)])
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_alpha_one_is_todo_and_zero_is_average_pooling(grid, factor):
    x = torch.randn(3, grid.tokens, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(interpolate_extrapolate(x, grid, factor, 1.0), nearest(x, grid, factor))
    assert torch.equal(interpolate_extrapolate(x, grid, factor, 0.0), average(x, grid, factor))


def test_alpha_per_sample_and_extrapolation():
    grid = TokenGrid(4, 4)
    x = torch.randn(2, 16, 3, generator=torch.Generator().manual_seed(0))
    mixed = interpolate_extrapolate(x, grid, 2, torch.tensor([0.3, 1.2]))
    assert torch.equal(mixed[0], interpolate_extrapolate(x, grid, 2, 0.3)[0])
    near, mean = nearest(x, grid, 2), average(x, grid, 2)
    assert torch.allclose(mixed[1], (near + 0.2 * (near - mean))[1], atol=1e-6)


def test_reducing_before_a_projection_equals_reducing_after_it():
    grid = TokenGrid(8, 8)
    linear = torch.nn.Linear(6, 5)
    x = torch.randn(2, 64, 6, generator=torch.Generator().manual_seed(0))
    before = linear(interpolate_extrapolate(x, grid, 3, 1.2))
    after = interpolate_extrapolate(linear(x), grid, 3, 1.2)
    assert torch.allclose(before, after, atol=1e-5)


@pytest.mark.parametrize("factor", [0, 5])
def test_a_factor_beyond_the_grid_says_what_is_allowed(factor):
    with pytest.raises(ValueError, match=f"factor {factor} does not fit a 4x6 grid: allowed are 1 to 4"):
        nearest(torch.zeros(1, 24, 1), TokenGrid(4, 6), factor)


def test_extreme_keys_are_the_extremes_in_token_order():
    x = torch.tensor([5.0, -1, 3, 9, 0, 2, 2, 7, 1]).view(1, 9, 1)
    grid = TokenGrid(3, 3)
    assert most_detailed(x, grid, 2, "l1_norm").flatten().tolist() == [9]
    x, grid = torch.tensor([[4.0, 1, 3, 2] * 4]).view(1, 16, 1), TokenGrid(4, 4)
    assert most_detailed(x, grid, 2, "l1_norm").flatten().tolist() == [4, 4, 4, 4]
    assert smoothest(x, grid, 2, "l1_norm").flatten().tolist() == [1, 1, 1, 1]
    assert smoothest(x, grid, 4, "l1_norm").shape == (1, 1, 1)


def test_a_blend_in_half_precision_is_rounded_once():
    grid = TokenGrid(8, 8)
    x = torch.randn(2, 64, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    alpha = torch.tensor([0.8137, 1.1931])
    blended = interpolate_extrapolate(x, grid, 2, alpha)
    picked, mean = nearest(x, grid, 2).double(), average(x, grid, 2).double()
    weight = alpha.double().view(2, 1, 1)
    assert blended.dtype == torch.bfloat16
    assert torch.equal(blended, (weight * picked + (1 - weight) * mean).bfloat16())
