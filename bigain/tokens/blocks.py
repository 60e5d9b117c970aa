"""Merging whole cells: smooth ones become one token, detailed ones stay (BiGain_TM's Adaptive Block Merge)."""

from __future__ import annotations

from torch import Tensor

from bigain.counts import merged_cells
from bigain.tokens import matching
from bigain.tokens.grid import TokenGrid
from bigain.tokens.merge import TokenPlan
from bigain.tokens.scores import SCORES

AGGREGATES = {"max": lambda scores: scores.amax(dim=-1), "mean": lambda scores: scores.mean(dim=-1)}


def merge_cells(
    metric: Tensor,
    grid: TokenGrid,
    ratio: float,
    cell: tuple[int, int],
    score: str,
    rule: str,
    aggregate: str,
    score_twice: bool = False,
) -> TokenPlan:
    """Adaptive Block Merge (section 3.2.1, Algorithm 3): average the cells of lowest aggregated score.

    `metric` [B, N, C]. No similarity is computed; ties go to the first cell; tokens in no cell are kept. `score_twice`
    scores once in vain, as the released code does: it changes nothing but the cost (Table 11's 695.08 GFLOPs).
    """
    count = merged_cells(ratio, grid.height, grid.width, cell, rule)
    cells = grid.cell_tokens(cell, metric.device)
    if score_twice:
        SCORES[score](metric, grid)
    totals = AGGREGATES[aggregate](SCORES[score](metric, grid)[:, cells])
    lowest = totals.argsort(dim=1, stable=True)[:, :count].sort(dim=1).values
    tokens = cells[lowest]  # [B, count, cell size]
    destinations, merged = tokens[..., 0], tokens[..., 1:].flatten(1)
    target = matching.places(count, cells.shape[1] - 1, merged)
    kept, _ = matching.split(tokens.flatten(1), grid.tokens)
    return TokenPlan(kept, merged, target, destinations)
