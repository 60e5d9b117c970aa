"""Downsampling: attention reads keys and values of a smaller token grid; all queries stay (ToDo, BiGain_TD)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bigain.methods import counts
from bigain.tokens import kernels
from bigain.tokens.grid import TokenGrid
from bigain.tokens.matching import highest, rows, split
from bigain.tokens.scores import SCORES


def reduced_grid(grid: TokenGrid, factor: int) -> TokenGrid:
    """Return floor(H / s) x floor(W / s). Raises ValueError if the factor is below 1 or larger than the grid."""
    return TokenGrid(*counts.reduced_grid(factor, grid.height, grid.width))


def nearest(x: Tensor, grid: TokenGrid, factor: int, site: str = "nearest_exact") -> Tensor:
    """Pick one token for every place of the reduced grid (ToDo): [B, N, C] -> [B, M, C].

    `site` says which token, along each axis of n tokens: `nearest_exact`, floor((i + 0.5) n / n'), spans the full
    extent; `top_left`, floor(i n / n'), is the choice of ToDo's demo; `cell_centre`, i w + floor(w / 2) with
    w = floor(n / n'), always lies in the window that `average` covers.
    """
    small = reduced_grid(grid, factor)
    if kernels.uses("downsample", x):
        return _in_kernel(x, grid, small, 1.0, site)
    if site == "cell_centre":
        window = (grid.height // small.height, grid.width // small.width)
        centred = grid.to_map(x)[:, :, window[0] // 2 :: window[0], window[1] // 2 :: window[1]]
        return grid.to_sequence(centred[:, :, : small.height, : small.width])
    mode = {"nearest_exact": "nearest-exact", "top_left": "nearest"}[site]
    return grid.to_sequence(F.interpolate(grid.to_map(x), size=(small.height, small.width), mode=mode))


def average(x: Tensor, grid: TokenGrid, factor: int) -> Tensor:
    """Average over windows of floor(n / n') per axis, and drop the remainder: [B, N, C] -> [B, M, C]."""
    small = reduced_grid(grid, factor)
    if kernels.uses("downsample", x):
        return _in_kernel(x, grid, small, 0.0)
    window = (grid.height // small.height, grid.width // small.width)
    return grid.to_sequence(F.avg_pool2d(grid.to_map(x), window))


def interpolate_extrapolate(
    x: Tensor, grid: TokenGrid, factor: int, alpha: float | Tensor, site: str = "nearest_exact"
) -> Tensor:
    """Return alpha * nearest + (1 - alpha) * average: BiGain_TD (Eq. 8, Algorithm 4), [B, N, C] -> [B, M, C].

    `site` is that of `nearest`. alpha = 1 is ToDo, 0 average pooling, above 1 extrapolates; a tensor [B] holds one
    alpha per sample, in float32, and the blend is rounded once.
    """
    if kernels.uses("downsample", x):
        return _in_kernel(x, grid, reduced_grid(grid, factor), alpha, site)
    exact = torch.promote_types(x.dtype, torch.float32)
    nearby, averaged = nearest(x, grid, factor, site).to(exact), average(x, grid, factor).to(exact)
    if isinstance(alpha, Tensor):
        alpha = alpha.view(-1, 1, 1)
    return (alpha * nearby + (1 - alpha) * averaged).to(x.dtype)


def _in_kernel(
    x: Tensor, grid: TokenGrid, small: TokenGrid, alpha: float | Tensor, site: str = "nearest_exact"
) -> Tensor:
    """Compute alpha * nearest + (1 - alpha) * average in one pass over the tokens."""
    from bigain.tokens.kernels import downsampling

    shapes = (grid.height, grid.width, [small.height, small.width])
    if isinstance(alpha, Tensor):
        return downsampling.downsample(x, alpha.reshape(-1).expand(len(x)), *shapes, 0.0, site)
    return downsampling.downsample(x, None, *shapes, float(alpha), site)


def most_detailed(x: Tensor, grid: TokenGrid, factor: int, score: str) -> Tensor:
    """Keep the highest-scoring tokens, as many as the reduced grid has (Table 12): [B, N, C] -> [B, M, C]."""
    return rows(x, most_detailed_places(x, grid, factor, score))


def smoothest(x: Tensor, grid: TokenGrid, factor: int, score: str) -> Tensor:
    """Keep the lowest-scoring tokens, as many as the reduced grid has (Table 12): [B, N, C] -> [B, M, C]."""
    return rows(x, smoothest_places(x, grid, factor, score))


def most_detailed_places(x: Tensor, grid: TokenGrid, factor: int, score: str) -> Tensor:
    """Return the tokens that `most_detailed` keeps: [B, M]."""
    return _highest(SCORES[score](x, grid), reduced_grid(grid, factor).tokens)


def smoothest_places(x: Tensor, grid: TokenGrid, factor: int, score: str) -> Tensor:
    """Return the tokens that `smoothest` keeps: [B, M]."""
    return _highest(-SCORES[score](x, grid), reduced_grid(grid, factor).tokens)


def _highest(scores: Tensor, count: int) -> Tensor:
    """Return the `count` tokens of highest score, in token order; ties go to the lowest index."""
    return split(highest(scores, count), scores.shape[1])[1]


# For each operator that picks tokens by their score, the function that returns which.
PLACES = {"most_detailed": most_detailed_places, "smoothest": smoothest_places}
