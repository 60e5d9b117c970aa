"""Merging by a threshold: every sample merges all sources that are similar enough (CA-ToMe)."""

from __future__ import annotations

from torch import Tensor

from bigain.tokens import matching
from bigain.tokens.blocks import RaggedPlan
from bigain.tokens.grid import TokenGrid
from bigain.tokens.merge import TokenPlan


def merge_above(
    metric: Tensor, grid: TokenGrid, threshold: float, cell: tuple[int, int], offsets: Tensor
) -> RaggedPlan:
    """Merge every source whose best cosine to a destination reaches the threshold: CA-ToMe (Saghatchian et al. 2025).

    `metric` [B, N, C]; one random destination per cell, at the `offsets` [B or 1, D] that the caller draws. Samples
    keep different numbers of tokens. Raises ValueError on the meta device, where there are no similarities.
    """
    if metric.device.type == "meta":
        raise ValueError("a similarity threshold merges a number of tokens that depends on the image: nothing to count")
    destinations = matching.at_offsets(offsets, grid, cell).expand(len(metric), -1)
    sources, destinations = matching.split(destinations, grid.tokens)
    samples = zip(sources, destinations, *matching.best_destinations(metric, sources, destinations), strict=True)
    return RaggedPlan([_plan(*sample, threshold) for sample in samples])


def _plan(sources: Tensor, destinations: Tensor, similarity: Tensor, target: Tensor, threshold: float) -> TokenPlan:
    """Return the plan of one sample: `sources`, their `similarity` and `target` [S], and `destinations` [D]."""
    above = similarity >= threshold
    kept, merged, goes_to = sources[~above], sources[above], target[above]
    return TokenPlan(kept.unsqueeze(0), merged.unsqueeze(0), goes_to.unsqueeze(0), destinations.unsqueeze(0)).mapped()
