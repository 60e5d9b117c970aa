"""Which tokens receive (destinations), and which source goes to which destination (bipartite soft matching)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bigain.tokens.grid import TokenGrid

SIMILARITIES = 2**24  # numbers held at once when sources are compared with destinations: 64 MB


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


def official_v1(scores: Tensor, grid: TokenGrid, cell: tuple[int, int]) -> Tensor:
    """Destinations as the paper's released code picks them: scores [B, N] -> [B, D].

    It cuts the row-major scores into runs of a cell's size instead of into cells, takes the lowest of every run, and
    uses its place in the k-th run as the place in the k-th cell: deterministic, but not the smoothest token of a cell.
    Raises ValueError if the cells do not fill the grid, as the released code does for the width.
    """
    size = cell[0] * cell[1]
    if grid.height % cell[0] or grid.width % cell[1]:
        raise ValueError(f"official_v1 needs a grid of whole cells; {cell[0]}x{cell[1]} cells do not fill {grid}")
    return at_offsets(scores.unflatten(1, (grid.tokens // size, size)).argmin(dim=-1), grid, cell)


def split(destinations: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """Sources and destinations, each in index order: destinations [B, D] -> [B, N - D], [B, D]."""
    is_destination = torch.zeros(len(destinations), tokens, dtype=torch.bool, device=destinations.device)
    is_destination.scatter_(1, destinations, True)
    order = is_destination.int().argsort(dim=1, stable=True)
    count = tokens - destinations.shape[1]
    return order[:, :count], order[:, count:]


def places(count: int, each: int, like: Tensor) -> Tensor:
    """0, 0, ..., 1, 1, ... up to `count` - 1, each `each` times, for the batch of `like`: [B, count * each]."""
    index = torch.arange(count, device=like.device).repeat_interleave(each)
    return index.expand(len(like), -1)


def rows(x: Tensor, index: Tensor) -> Tensor:
    """The tokens of x [B, N, C] at index [B, K]: [B, K, C]. Copies whole rows, which beats an element-wise gather."""
    return x[torch.arange(len(x), device=x.device).unsqueeze(1), index]


def best_destinations(metric: Tensor, sources: Tensor, destinations: Tensor) -> tuple[Tensor, Tensor]:
    """For every source the cosine to, and the place of, its most similar destination: [B, S] each, float32.

    `metric` [B, N, C]; ties go to the lowest place. A zero vector has cosine 0 to everything. The similarities are
    never all held at once: sources go in chunks of at most `SIMILARITIES` numbers.
    """
    unit = F.normalize(metric.float(), dim=-1)
    targets = rows(unit, destinations).transpose(1, 2)
    chunk = max(1, SIMILARITIES // (targets.shape[0] * targets.shape[2]))
    best, similarity = [], []
    for part in sources.split(chunk, dim=1):
        cosines = rows(unit, part) @ targets
        best.append(cosines.argmax(dim=-1))
        similarity.append(cosines.gather(-1, best[-1].unsqueeze(-1)).squeeze(-1))
    return torch.cat(similarity, dim=1), torch.cat(best, dim=1)
