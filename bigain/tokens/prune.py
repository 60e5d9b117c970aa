"""Pruning: redundant tokens skip attention and copy the output of the kept token most like them (SiTo)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bigain.methods.counts import removed_tokens
from bigain.tokens import matching
from bigain.tokens.grid import TokenGrid


@dataclass(frozen=True)
class PrunePlan:
    """A pruning of N tokens to N - P. Token indices `kept` [B, N - P] and `pruned` [B, P]; `target` [B, P] is the place
    in `kept` whose output a pruned token copies."""

    kept: Tensor
    pruned: Tensor
    target: Tensor

    @property
    def left(self) -> Tensor:
        """The token whose place each token of the short sequence takes: [B, N - P]."""
        return self.kept

    def reduce(self, x: Tensor) -> Tensor:
        """Return the kept tokens: [B, N, C] -> [B, N - P, C]."""
        return matching.rows(x, self.kept)

    def around(self, layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Run a layer on the kept tokens and restore the others: x [B, N, C] -> [B, N, C]."""
        return self.restore(layer(self.reduce(x)))

    def of_rows(self, rows: Tensor) -> PrunePlan:
        """Return the plan of a batch whose k-th row is row `rows[k]` of this one."""
        return PrunePlan(self.kept[rows], self.pruned[rows], self.target[rows])

    def restore(self, y: Tensor) -> Tensor:
        """Return every token at its place, pruned ones as copies of their targets: [B, N - P, C] -> [B, N, C]."""
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
    full_gram: bool = True,
) -> PrunePlan:
    """Prune the int(N * ratio) tokens most similar to a base token: SiTo (Zhang et al. 2025).

    The base token of a cell has the largest weighted sum of its similarity to all tokens and of noise.
    `metric` [B, N, C]; `noise` [B or 1, N] is standard normal, drawn by the caller. Ties go to the lowest index. With
    `full_gram`, as published, all N x N similarities are computed: at once if those of a sample fit into
    `matching.SIMILARITIES`, else chunk by chunk. Without it their sums come from the sum of all unit vectors, and only
    the similarities of sources to base tokens and of pruned to kept tokens are computed: the same plan up to rounding.
    """
    removed = removed_tokens(ratio, grid.height, grid.width, cell)
    unit = F.normalize(metric.float(), dim=-1)
    together = max(1, matching.SIMILARITIES // grid.tokens**2)  # samples whose similarities fit in memory
    plans = []
    for part, part_noise in zip(unit.split(together), noise.expand(len(unit), -1).split(together), strict=True):
        cosines = Cosines.of(part, full_gram)
        total = similarity_weight * cosines.sums(full_gram) + noise_weight * part_noise
        others, bases = matching.split(matching.cell_argmin(-total, grid, cell), grid.tokens)
        closest = cosines.reduce(others, bases, lambda c: c.amax(dim=-1))
        kept, pruned = matching.split(others.gather(1, matching.highest(closest, removed)), grid.tokens)
        plans.append((kept, pruned, cosines.reduce(pruned, kept, lambda c: c.argmax(dim=-1))))
    return PrunePlan(*(torch.cat(parts) for parts in zip(*plans, strict=True)))


@dataclass(frozen=True)
class Cosines:
    """Cosines between the unit vectors `unit` [B, N, C]: read from the Gram matrix `gram` [B, N, N] where it fits in
    memory, else computed on demand in chunks of at most `matching.SIMILARITIES`."""

    unit: Tensor
    gram: Tensor | None

    @staticmethod
    def of(unit: Tensor, full_gram: bool) -> Cosines:
        """Compute the Gram matrix if `full_gram` asks for it and it fits in memory."""
        fits = full_gram and len(unit) * unit.shape[1] ** 2 <= matching.SIMILARITIES
        return Cosines(unit, unit @ unit.transpose(1, 2) if fits else None)

    def sums(self, full_gram: bool) -> Tensor:
        """Sum every token's cosines to all tokens, including itself: [B, N]."""
        if not full_gram:
            return (self.unit @ self.unit.sum(dim=1).unsqueeze(-1)).squeeze(-1)
        every = torch.arange(self.unit.shape[1], device=self.unit.device).expand(len(self.unit), -1)
        return self.reduce(every, every, lambda cosines: cosines.sum(dim=-1))

    def reduce(self, rows: Tensor, columns: Tensor, reduction: Callable[[Tensor], Tensor]) -> Tensor:
        """Reduce the cosines between the tokens `rows` [B, R] and `columns` [B, K] by a function to [B, R]."""
        if self.gram is not None:
            of_rows = matching.rows(self.gram, rows)
            return reduction(of_rows.gather(2, columns.unsqueeze(1).expand(-1, rows.shape[1], -1)))
        chunk = max(1, matching.SIMILARITIES // columns.numel())
        targets = matching.rows(self.unit, columns).transpose(1, 2)
        parts = [reduction(matching.rows(self.unit, part) @ targets) for part in rows.split(chunk, dim=1)]
        return torch.cat(parts, dim=1)
