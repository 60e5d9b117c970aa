"""Merging: sources are averaged into similar destinations and get their destination's output back (ToMe, BiGain_TM)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bigain.methods.counts import removed_tokens
from bigain.tokens import matching
from bigain.tokens.grid import TokenGrid
from bigain.tokens.scores import SCORES


@dataclass(frozen=True)
class TokenPlan:
    """A merge of N tokens into N' = N - r, decided from one tensor and applicable to any other of the same grid.

    Token indices: `kept` [B, S - r] and `merged` [B, r] sources, `destinations` [B, D]; `target` [B, r] is the place
    in `destinations` to which each merged source goes.
    """

    kept: Tensor
    merged: Tensor
    target: Tensor
    destinations: Tensor

    def reduce(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, N', C]: kept sources, then destinations averaged with what they receive (equal weights)."""
        batch, count = self.destinations.shape
        place = self.target + count * torch.arange(batch, device=x.device).unsqueeze(1)  # in all destinations, flat
        total = matching.rows(x, self.destinations).flatten(0, 1)
        total = matching.sums(total, place.flatten(), matching.rows(x, self.merged).flatten(0, 1))
        members = total.new_ones(len(total)).index_add(0, place.flatten(), total.new_ones(place.numel()))
        mean = (total / members.unsqueeze(-1)).to(x.dtype).unflatten(0, (batch, count))
        return torch.cat([matching.rows(x, self.kept), mean], dim=1)

    def around(self, layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Run a layer on the reduced tokens and restore them: x [B, N, C] -> [B, N, C]."""
        return self.restore(layer(self.reduce(x)))

    def of_rows(self, rows: Tensor) -> TokenPlan:
        """Return the plan of a batch whose k-th row is row `rows[k]` of this one."""
        return TokenPlan(self.kept[rows], self.merged[rows], self.target[rows], self.destinations[rows])

    def restore(self, y: Tensor) -> Tensor:
        """[B, N', C] -> [B, N, C]: every token at its place, every merged source a copy of its destination."""
        sources = self.kept.shape[1]
        place = torch.arange(y.shape[1], device=y.device).expand(len(y), -1)
        tokens = torch.cat([self.kept, self.destinations, self.merged], dim=1)
        origin = torch.cat([place, sources + self.target], dim=1)  # of each of these tokens, its place in y
        return matching.rows(y, torch.empty_like(tokens).scatter_(1, tokens, origin))


def soft_matching(metric: Tensor, destinations: Tensor, removed: int, protected: Tensor | None = None) -> TokenPlan:
    """Bipartite soft matching (ToMe; Algorithm 2, steps 3-4): merge the `removed` most similar sources.

    `metric` [B, N, C], `destinations` [B or 1, D] token indices. Sources among `protected` [B, P] go last. Ties go to
    the lowest index.
    """
    destinations = destinations.expand(len(metric), -1)
    sources, destinations = matching.split(destinations, metric.shape[1])
    similarity, target = matching.best_destinations(metric, sources, destinations)
    if protected is not None:
        is_protected = torch.zeros(metric.shape[:2], dtype=torch.bool, device=metric.device)
        is_protected = is_protected.scatter(1, protected, True).gather(1, sources)
        similarity = similarity.masked_fill(is_protected, -torch.inf)
    merged = matching.highest(similarity, removed)
    kept, _ = matching.split(merged, sources.shape[1])
    return TokenPlan(sources.gather(1, kept), sources.gather(1, merged), target.gather(1, merged), destinations)


def merge_random(metric: Tensor, grid: TokenGrid, ratio: float, cell: tuple[int, int], offsets: Tensor) -> TokenPlan:
    """ToMe (tomesd): one random destination per cell, at the `offsets` [B or 1, D] that the caller draws."""
    removed = removed_tokens(ratio, grid.height, grid.width, cell)
    return soft_matching(metric, matching.at_offsets(offsets, grid, cell), removed)


def merge_top_left(metric: Tensor, grid: TokenGrid, ratio: float, cell: tuple[int, int]) -> TokenPlan:
    """ToMe with the first token of each cell as destination: the deterministic control."""
    removed = removed_tokens(ratio, grid.height, grid.width, cell)
    return soft_matching(metric, matching.top_left(grid, cell, metric.device), removed)


def merge_smooth(
    metric: Tensor,
    grid: TokenGrid,
    ratio: float,
    cell: tuple[int, int],
    score: str,
    destinations: str = "cell_argmin",
    protect: float = 0.0,
) -> TokenPlan:
    """BiGain_TM, Laplacian-gated token merging (Algorithm 2): the smoothest token of each cell is its destination.

    `destinations` names the rule that picks them in `DESTINATIONS`; the int(N * protect) highest-scoring tokens are
    never merged away. Raises ValueError if so many are protected that the ratio cannot be reached.
    """
    removed = removed_tokens(ratio, grid.height, grid.width, cell, protect)
    scores = SCORES[score](metric, grid)
    chosen = DESTINATIONS[destinations](scores, grid, cell)
    if not protect:
        return soft_matching(metric, chosen, removed)
    return soft_matching(metric, chosen, removed, matching.highest(scores, int(grid.tokens * protect)))


DESTINATIONS = {"cell_argmin": matching.cell_argmin, "official_v1": matching.official_v1}
