"""Controls for how much the choice of tokens matters: plans that ignore the tokens, and the best of several plans."""

from __future__ import annotations

import torch
from torch import Tensor

from bigain.methods.counts import check_plans, removed_tokens, whole_cells
from bigain.tokens import matching
from bigain.tokens.grid import TokenGrid
from bigain.tokens.merge import TokenPlan, merge_random


def merge_blindly(metric: Tensor, grid: TokenGrid, ratio: float, cell: tuple[int, int], integers: Tensor) -> TokenPlan:
    """Merge random sources into random destinations, one per cell: a plan of ToMe's size that ignores the tokens.

    Of `metric` [B, N, C] only the batch size counts. `integers` [B or 1, 3, N] are uniform below 2^31, drawn by the
    caller: the token with the lowest first integer of its cell is the destination, the sources with the highest second
    integers are merged, and the third, modulo D, is the target.
    """
    removed = removed_tokens(ratio, grid.height, grid.width, cell)
    of_cell, of_source, of_target = integers.expand(len(metric), -1, -1).unbind(1)
    sources, destinations = matching.split(matching.cell_argmin(of_cell, grid, cell), grid.tokens)
    merged = matching.highest(of_source.gather(1, sources).float(), removed)
    kept, _ = matching.split(merged, sources.shape[1])
    merged = sources.gather(1, merged)
    target = of_target.gather(1, merged) % destinations.shape[1]
    return TokenPlan(sources.gather(1, kept), merged, target, destinations).mapped()


def merge_best(
    metric: Tensor, grid: TokenGrid, ratio: float, cell: tuple[int, int], k: int, integers: Tensor
) -> TokenPlan:
    """Choose the best of k ToMe plans for every sample: the one with the least error ||x - unmerge(merge(x))||^2.

    `metric` [B, N, C] is x. `integers` [B or 1, 3, N] below 2^31, drawn by the caller, are consumed D at a time: every
    D of them give the random destinations of one plan, so that k = 1 is ToMe. Ties go to the first plan. Raises
    ValueError if they do not suffice for k plans.
    """
    check_plans(k, grid.height, grid.width, cell)
    cells = whole_cells(grid.height, grid.width, cell)
    offsets = integers.flatten(1)[:, : k * cells].unflatten(1, (k, cells)) % (cell[0] * cell[1])
    best, least = None, None
    for drawn in offsets.unbind(1):
        plan = merge_random(metric, grid, ratio, cell, drawn)
        error = (metric - plan.restore(plan.reduce(metric))).float().square().sum(dim=(1, 2))
        if best is None or least is None:
            best, least = plan, error
            continue
        better = error < least
        best, least = _either(better, plan, best), torch.minimum(error, least)
    assert best is not None
    return best.mapped()


def _either(first: Tensor, one: TokenPlan, other: TokenPlan) -> TokenPlan:
    """Return a plan whose rows are those of `one` where `first` [B] is true, and else of `other`."""
    kept, merged, target, destinations = (
        torch.where(first.unsqueeze(1), a, b)
        for a, b in (
            (one.kept, other.kept),
            (one.merged, other.merged),
            (one.target, other.target),
            (one.destinations, other.destinations),
        )
    )
    return TokenPlan(kept, merged, target, destinations)
