"""Fewer keys and values: a smaller grid of tokens for attention to look at; the queries stay (ToDo, BiGain_TD)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from bigain import counts
from bigain.tokens.grid import TokenGrid
from bigain.tokens.matching import rows
from bigain.tokens.scores import SCORES


def reduced_grid(grid: TokenGrid, factor: int) -> TokenGrid:
    """floor(H / s) x floor(W / s). Raises ValueError if the factor is below 1 or larger than the grid."""
    return TokenGrid(*counts.reduced_grid(factor, grid.height, grid.width))


def nearest(x: Tensor, grid: TokenGrid, factor: int) -> Tensor:
    """ToDo: nearest-exact sampling over the full extent, index i -> floor((i + 0.5) n / n'). [B, N, C] -> [B, M, C]."""
    small = reduced_grid(grid, factor)
    sampled = F.interpolate(grid.to_map(x), size=(small.height, small.width), mode="nearest-exact")
    return grid.to_sequence(sampled)


def average(x: Tensor, grid: TokenGrid, factor: int) -> Tensor:
    """Average pooling, window and stride floor(n / n'); a remainder is dropped. [B, N, C] -> [B, M, C]."""
    small = reduced_grid(grid, factor)
    window = (grid.height // small.height, grid.width // small.width)
    return grid.to_sequence(F.avg_pool2d(grid.to_map(x), window))


def interpolate_extrapolate(x: Tensor, grid: TokenGrid, factor: int, alpha: float | Tensor) -> Tensor:
    """BiGain_TD (Eq. 8, Algorithm 4): alpha * nearest + (1 - alpha) * average. [B, N, C] -> [B, M, C].

    alpha = 1 is ToDo, 0 is average pooling, above 1 extrapolates; a tensor [B] holds one alpha a sample.
    """
    if isinstance(alpha, Tensor):
        alpha = alpha.to(x.dtype).view(-1, 1, 1)
    return alpha * nearest(x, grid, factor) + (1 - alpha) * average(x, grid, factor)


def most_detailed(x: Tensor, grid: TokenGrid, factor: int, score: str) -> Tensor:
    """Table 12: as many tokens as the reduced grid has, the highest-scoring of the map. [B, N, C] -> [B, M, C]."""
    return _lowest(x, -SCORES[score](x, grid), reduced_grid(grid, factor).tokens)


def smoothest(x: Tensor, grid: TokenGrid, factor: int, score: str) -> Tensor:
    """Table 12: as many tokens as the reduced grid has, the lowest-scoring of the map. [B, N, C] -> [B, M, C]."""
    return _lowest(x, SCORES[score](x, grid), reduced_grid(grid, factor).tokens)


def _lowest(x: Tensor, scores: Tensor, count: int) -> Tensor:
    """The `count` tokens of lowest score, in token order; ties to the lowest index."""
    return rows(x, scores.argsort(dim=1, stable=True)[:, :count].sort(dim=1).values)
