"""Pruning: redundant tokens skip attention and copy the output of the kept token most like them (SiTo)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bigain.counts import removed_tokens
from bigain.tokens import matching
from bigain.tokens.grid import TokenGrid


@dataclass(frozen=True)
class PrunePlan:
    """N tokens without P of them. Token indices `kept` [B, N - P] and `pruned` [B, P]; `target` [B, P] is the place in
    `kept` from which a pruned token gets its output."""

    kept: Tensor
    pruned: Tensor
    target: Tensor

    def reduce(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, N - P, C]: the kept tokens as they are."""
        return matching.rows(x, self.kept)

    def restore(self, y: Tensor) -> Tensor:
        """[B, N - P, C] -> [B, N, C]: every kept token at its place, every pruned one a copy of its most similar."""
        place = torch.arange(y.shape[1], device=y.device).expand(len(y), -1)
        tokens = torch.cat([self.kept, self.pruned], dim=1)
        origin = torch.cat([place, self.target], dim=1)  # of each of these tokens, its place in y
        return matching.rows(y, torch.empty_like(tokens).scatter_(1, tokens, origin))


def prune_similar(
    metric: Tensor,
    grid: TokenGrid,
    ratio: float,
    cell: tuple[int, int],
    similarity_weight: float,
    noise_weight: float,
    noise: Tensor,
) -> PrunePlan:
    """SiTo (Zhang et al. 2025): each cell keeps its token most similar to all others, plus noise, as a base token; of
    the rest the int(N * ratio) most similar to any base token are pruned.

    `metric` [B, N, C]; `noise` [B or 1, N] standard normal, drawn by the caller. Ties go to the lowest index.
    """
    removed = removed_tokens(ratio, grid.height, grid.width, cell)
    unit = F.normalize(metric.float(), dim=-1)
    similarity = unit @ unit.transpose(1, 2)
    total = similarity_weight * similarity.sum(dim=-1) + noise_weight * noise
    bases = matching.cell_argmin(-total, grid, cell)
    others, bases = matching.split(bases, grid.tokens)
    of_others = matching.rows(similarity, others)
    closest = of_others.gather(2, bases.unsqueeze(1).expand(-1, others.shape[1], -1)).amax(dim=-1)
    order = closest.argsort(dim=1, descending=True, stable=True)
    pruned = others.gather(1, order[:, :removed])
    kept, pruned = matching.split(pruned, grid.tokens)
    of_pruned = matching.rows(similarity, pruned)
    target = of_pruned.gather(2, kept.unsqueeze(1).expand(-1, removed, -1)).argmax(dim=-1)
    return PrunePlan(kept, pruned, target)
