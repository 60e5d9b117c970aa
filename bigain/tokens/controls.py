"""Controls that bound what the choice of tokens can matter: plans that look at no token."""

from __future__ import annotations

from torch import Tensor

from bigain.methods.counts import removed_tokens
from bigain.tokens import matching
from bigain.tokens.grid import TokenGrid
from bigain.tokens.merge import TokenPlan


def merge_blindly(metric: Tensor, grid: TokenGrid, ratio: float, cell: tuple[int, int], integers: Tensor) -> TokenPlan:
    """A random plan of ToMe's size: a random destination per cell, random sources, each into a random destination.

    `metric` [B, N, C] says only the batch's size. `integers` [B or 1, 3, N] are uniform below 2^31, drawn by the
    caller: their lowest in a cell is its destination, the sources of the highest are merged, and the third's remainder
    is the target.
    """
    removed = removed_tokens(ratio, grid.height, grid.width, cell)
    of_cell, of_source, of_target = integers.expand(len(metric), -1, -1).unbind(1)
    sources, destinations = matching.split(matching.cell_argmin(of_cell, grid, cell), grid.tokens)
    merged = matching.highest(of_source.gather(1, sources).float(), removed)
    kept, _ = matching.split(merged, sources.shape[1])
    merged = sources.gather(1, merged)
    target = of_target.gather(1, merged) % destinations.shape[1]
    return TokenPlan(sources.gather(1, kept), merged, target, destinations).mapped()
