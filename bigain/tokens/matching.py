"""Which tokens receive (destinations), and which source goes to which destination (bipartite soft matching)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bigain.tokens.grid import TokenGrid


def top_left(grid: TokenGrid, cell: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """The first token of every cell: [1, D]."""
    return grid.cell_tokens(cell, device)[:, 0].unsqueeze(0)


def at_offsets(offsets: Tensor, grid: TokenGrid, cell: tuple[int, int]) -> Tensor:
    """The token at a given row-major place in every cell: offsets [B, D], integers below the cell's size -> [B, D]."""
    cells = grid.cell_tokens(cell, offsets.device)
    return cells.expand(len(offsets), -1, -1).gather(2, offsets.unsqueeze(-1)).squeeze(-1)


def cell_argmin(scores: Tensor, grid: TokenGrid, cell: tuple[int, int]) -> Tensor:
    """The lowest-scoring token of every cell (Algorithm 2, step 2): scores [B, N] -> [B, D]; ties to the first."""
    return at_offsets(scores[:, grid.cell_tokens(cell, scores.device)].argmin(dim=-1), grid, cell)


def split(destinations: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """Sources and destinations, each in index order: destinations [B, D] -> [B, N - D], [B, D]."""
    is_destination = torch.zeros(len(destinations), tokens, dtype=torch.bool, device=destinations.device)
    is_destination.scatter_(1, destinations, True)
    order = is_destination.int().argsort(dim=1, stable=True)
    count = tokens - destinations.shape[1]
    return order[:, :count], order[:, count:]


def rows(x: Tensor, index: Tensor) -> Tensor:
    """The tokens of x [B, N, C] at index [B, K]: [B, K, C]."""
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def best_destinations(metric: Tensor, sources: Tensor, destinations: Tensor) -> tuple[Tensor, Tensor]:
    """For every source the cosine to, and the place of, its most similar destination: [B, S] each, float32.

    `metric` [B, N, C]; ties go to the lowest place. A zero vector has cosine 0 to everything.
    """
    unit = F.normalize(metric.float(), dim=-1)
    similarity = rows(unit, sources) @ rows(unit, destinations).transpose(1, 2)
    best = similarity.argmax(dim=-1)
    return similarity.gather(-1, best.unsqueeze(-1)).squeeze(-1), best
