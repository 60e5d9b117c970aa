"""Merging by facility location: every tile keeps its most representative tokens and blends the others into them (ToMA).

Merge and unmerge are small dense matrices per tile, so nothing is sorted or scattered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bigain.methods.counts import left_of_tile
from bigain.tokens import matching
from bigain.tokens.grid import TokenGrid

STEP = 2.0**-12


@dataclass(frozen=True)
class TilePlan:
    """A soft merge of the T tokens of each of G tiles into D, decided from one tensor and applicable to any other.

    Token indices: `tiles` [G, T], and `strip` [R], the tokens outside of whole tiles, which are kept. `weights` A
    [B, G, D, T], in float32 or float64: how much of a token goes to each destination of its tile; they sum to 1 over D.
    `chosen` [B, G, D]: the places of the destinations in their tile.
    """

    tiles: Tensor
    strip: Tensor
    weights: Tensor
    chosen: Tensor

    @property
    def left(self) -> Tensor:
        """The token whose place each token of the short sequence takes: the strip, then the destinations, [B, N']."""
        destinations = self.tiles.expand(len(self.chosen), -1, -1).gather(2, self.chosen)
        return torch.cat([self.strip.expand(len(self.chosen), -1), destinations.flatten(1)], dim=1)

    @property
    def sizes(self) -> Tensor:
        """The number of tokens that each token of the short sequence stands for, in fractions: float32 [B, N']."""
        members = self.weights.sum(dim=-1).flatten(1)
        return torch.cat([members.new_ones(len(members), len(self.strip)), members], dim=1)

    def reduce(self, x: Tensor) -> Tensor:
        """Return the strip, then means of tiles weighted by the rows of A: [B, N, C] -> [B, R + G D, C]."""
        means = self.weights / self.weights.sum(dim=-1, keepdim=True)
        merged = (means @ exact(x[:, self.tiles])).to(x.dtype)
        return torch.cat([x[:, self.strip], merged.flatten(1, 2)], dim=1)

    def around(self, layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Run a layer on the reduced tokens and restore them: x [B, N, C] -> [B, N, C]."""
        return self.restore(layer(self.reduce(x)))

    def of_rows(self, rows: Tensor) -> TilePlan:
        """Return the plan of a batch whose k-th row is row `rows[k]` of this one."""
        return TilePlan(self.tiles, self.strip, self.weights[rows], self.chosen[rows])

    def restore(self, y: Tensor) -> Tensor:
        """Return each token as a blend of its tile's destinations, by A transposed: [B, R + G D, C] -> [B, N, C]."""
        kept, merged = y[:, : len(self.strip)], y[:, len(self.strip) :]
        merged = exact(merged.unflatten(1, self.weights.shape[1:3]))
        spread = (self.weights.transpose(2, 3) @ merged).to(y.dtype).flatten(1, 2)
        origin = torch.cat([self.strip, self.tiles.flatten()])  # token index of each row below
        return torch.cat([kept, spread], dim=1)[:, origin.argsort()]


def merge_tiles(metric: Tensor, grid: TokenGrid, ratio: float, tile: tuple[int, int], scale: float) -> TilePlan:
    """Keep T - int(T * ratio) tokens of every tile, and blend its T tokens into them: ToMA (Lu et al. 2025).

    `metric` [B, N, C]. The weights A are the softmax over destinations of `scale` times the cosine. Ties go to the
    first token. Raises ValueError if no tile fits into the grid.
    """
    tiles = grid.cell_tokens(tile, metric.device)
    strip, _ = matching.split(tiles.reshape(1, -1), grid.tokens)
    unit = F.normalize(exact(metric), dim=-1)[:, tiles]
    cosines = unit @ unit.transpose(2, 3)
    chosen = most_representative(cosines.detach(), left_of_tile(ratio, tile))
    of_chosen = cosines.gather(2, chosen.unsqueeze(-1).expand(-1, -1, -1, tiles.shape[1]))
    return TilePlan(tiles, strip[0], torch.softmax(scale * of_chosen, dim=2), chosen)


def most_representative(similarity: Tensor, count: int) -> Tensor:
    """Maximise the facility location sum_j max_i S_ij greedily: S [..., T, T] -> the places of i, [..., count].

    The first is argmax_i sum_j S_ij, every further one argmax_i sum_j relu(S_ij - m_j), where m_j is the largest
    similarity of j to those chosen before. None is chosen twice. Ties go to the lowest place. They are common:
    two tokens that would cover only each other gain the same. So sums are compared in steps of `STEP`.
    """
    chosen = [_stepped(similarity.sum(dim=-1)).argmax(dim=-1, keepdim=True)]
    taken = torch.zeros_like(similarity[..., 0], dtype=torch.bool).scatter(-1, chosen[0], True)
    covered = _row(similarity, chosen[0])
    for _ in range(count - 1):
        gains = _stepped((similarity - covered).relu().sum(dim=-1)).masked_fill(taken, -1.0)
        chosen.append(gains.argmax(dim=-1, keepdim=True))
        taken = taken.scatter(-1, chosen[-1], True)
        covered = torch.maximum(covered, _row(similarity, chosen[-1]))
    return torch.cat(chosen, dim=-1)


def exact(x: Tensor) -> Tensor:
    """Return x in float32, or in float64 as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _stepped(sums: Tensor) -> Tensor:
    """Round to multiples of `STEP`, so that rounding errors decide no tie."""
    return (sums / STEP).round()


def _row(similarity: Tensor, place: Tensor) -> Tensor:
    """Gather a row of each matrix: [..., T, T] and [..., 1] -> [..., 1, T]."""
    return similarity.gather(-2, place.unsqueeze(-1).expand(*place.shape, similarity.shape[-1]))
