"""Merging whole cells: smooth ones become one token, detailed ones stay (BiGain_TM's Adaptive Block Merge)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bigain.methods.counts import merged_cells
from bigain.tokens import matching
from bigain.tokens.grid import TokenGrid
from bigain.tokens.merge import TokenPlan
from bigain.tokens.scores import SCORES


@dataclass(frozen=True)
class RaggedPlan:
    """One plan per sample, where samples may be left with different numbers of tokens."""

    plans: list[TokenPlan]

    @property
    def tokens_left(self) -> list[int]:
        """Number of tokens N' left of every sample."""
        return [plan.kept.shape[1] + plan.destinations.shape[1] for plan in self.plans]

    def around(self, layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Run a layer on each sample's reduced tokens and restore them: x [B, N, C] -> [B, N, C]."""
        samples = zip(self.plans, x.split(1), strict=True)
        return torch.cat([plan.restore(layer(plan.reduce(sample))) for plan, sample in samples])

    def of_rows(self, rows: Tensor) -> RaggedPlan:
        """Return the plans of a batch whose k-th row is row `rows[k]` of this one."""
        return RaggedPlan([self.plans[row] for row in rows.tolist()])


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
) -> TokenPlan | RaggedPlan:
    """Average the cells of lowest aggregated score: Adaptive Block Merge (section 3.2.1, Algorithm 3).

    `metric` [B, N, C]. Computes no similarity; ties go to the first cell; tokens outside of whole cells are kept.
    `score_twice` computes the scores a second time, as the released code does, which changes only the cost (Table 11's
    695.08 GFLOPs). The rule `quantile` merges the cells whose aggregate is below the ratio-quantile of the sample's
    scores, so that samples keep different numbers of tokens. Raises ValueError for this rule on the meta device, where
    there are no scores.
    """
    if rule == "quantile":
        return _below_quantile(metric, grid, ratio, cell, score, aggregate)
    count = merged_cells(ratio, grid.height, grid.width, cell, rule)
    cells = grid.cell_tokens(cell, metric.device)
    if score_twice:
        SCORES[score](metric, grid)
    totals = AGGREGATES[aggregate](SCORES[score](metric, grid)[:, cells])
    _, lowest = matching.split(matching.highest(-totals, count), len(cells))
    return _plan(cells[lowest], grid)


def _plan(tokens: Tensor, grid: TokenGrid) -> TokenPlan:
    """Return the plan that merges whole cells, given their tokens [B, count, cell size]."""
    destinations, merged = tokens[..., 0], tokens[..., 1:].flatten(1)
    target = matching.places(tokens.shape[1], tokens.shape[2] - 1, merged)
    kept, _ = matching.split(tokens.flatten(1), grid.tokens)
    return TokenPlan(kept, merged, target, destinations).mapped()


def _below_quantile(
    metric: Tensor, grid: TokenGrid, ratio: float, cell: tuple[int, int], score: str, aggregate: str
) -> RaggedPlan:
    if metric.device.type == "meta":
        raise ValueError("the quantile rule merges a number of cells that depends on the image: nothing to count")
    cells = grid.cell_tokens(cell, metric.device)
    scores = SCORES[score](metric, grid)
    smooth = AGGREGATES[aggregate](scores[:, cells]) < scores.quantile(ratio, dim=1, keepdim=True)
    return RaggedPlan([_plan(cells[row].unsqueeze(0), grid) for row in smooth])
