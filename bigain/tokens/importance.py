"""Merging that keeps important tokens: destinations are drawn from the tokens that guidance changes most."""

from __future__ import annotations

import torch
from torch import Tensor

from bigain.methods.counts import removed_tokens, whole_cells
from bigain.tokens import matching
from bigain.tokens.grid import TokenGrid
from bigain.tokens.merge import TokenPlan, merge_most_similar, soft_matching


def merge_unimportant(
    metric: Tensor,
    grid: TokenGrid,
    ratio: float,
    cell: tuple[int, int],
    pool: float,
    importance: Tensor | None,
    integers: Tensor,
) -> TokenPlan:
    """Draw as many destinations as there are cells from the pool of the int(N * pool) most important tokens, and merge
    tokens outside of the pool first: importance-based token merging (Wu et al. 2024).

    `metric` [B, N, C], `importance` [B, N]; without it, ToMe's random destination per cell. A token goes to the
    destination most like it; outside of the pool and inside it, those of largest cosine are merged first. `integers`
    [B or 1, 3, N] are uniform below 2^31, drawn by the caller: the first decide places in cells, the second the draw
    from the pool.
    """
    removed = removed_tokens(ratio, grid.height, grid.width, cell)
    of_cell, of_pool, _ = integers.expand(len(metric), -1, -1).unbind(1)
    if importance is None:
        return soft_matching(metric, matching.cell_argmin(of_cell, grid, cell), removed)
    cells = whole_cells(grid.height, grid.width, cell)
    important = matching.highest(importance.float(), max(cells, int(grid.tokens * pool)))
    drawn = matching.highest(of_pool.gather(1, important).float(), cells)
    sources, destinations = matching.split(important.gather(1, drawn), grid.tokens)
    similarity, target = matching.best_destinations(metric, sources, destinations)
    is_important = torch.zeros(metric.shape[:2], dtype=torch.bool, device=metric.device).scatter(1, important, True)
    is_important = is_important.gather(1, sources)
    if removed <= grid.tokens - important.shape[1]:
        similarity = similarity.masked_fill(is_important, -torch.inf)
    else:  # all of the others, and the important ones of largest cosine
        similarity = similarity.masked_fill(~is_important, torch.inf)
    return merge_most_similar(similarity, sources, target, destinations, removed)
