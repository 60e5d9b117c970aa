"""Token fusion: the first blocks of a model prune, the later ones merge and keep the tokens' norm (ToFu)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, cat

from bigain.tokens.grid import TokenGrid
from bigain.tokens.merge import TokenPlan, merge_random
from bigain.tokens.prune import PrunePlan

SHORTEST = 1e-20  # norm of a mean; a float32 norm divided by it does not overflow


@dataclass(frozen=True)
class NormPlan(TokenPlan):
    """A merge whose averages have the largest norm of the tokens in them (MLERP)."""

    def reduce(self, x: Tensor) -> Tensor:
        """Return kept sources, then destinations m / |m| * max_i |x_i|: [B, N, C] -> [B, N', C].

        m is the mean of the x_i, a destination and its sources. A mean shorter than `SHORTEST`, whose direction is
        lost, stays shorter; zero stays zero.
        """
        short = super().reduce(x)
        kept, means = short[:, : self.kept.shape[1]], short[:, self.kept.shape[1] :].float()
        norms = x.float().norm(dim=-1)
        largest = norms.gather(1, self.destinations)
        largest = largest.scatter_reduce(1, self.target, norms.gather(1, self.merged), "amax")
        scale = largest / means.norm(dim=-1).clamp(min=SHORTEST)
        return cat([kept, (means * scale.unsqueeze(-1)).to(x.dtype)], dim=1)


def fuse(
    metric: Tensor,
    grid: TokenGrid,
    ratio: float,
    cell: tuple[int, int],
    offsets: Tensor,
    depth: float,
    merges_from: float,
) -> NormPlan | PrunePlan:
    """Drop ToMe's sources in the first blocks, and merge them by MLERP in the later ones: ToFu (Kim et al. 2024).

    `metric` [B, N, C]; one random destination per cell, at the `offsets` [B or 1, D] that the caller draws. `depth` is
    the block's place in the model, from 0 to below 1; blocks from `merges_from` on merge. A dropped source gets the
    output of the destination most like it.
    """
    plan = merge_random(metric, grid, ratio, cell, offsets)
    if depth >= merges_from:
        return NormPlan(plan.kept, plan.merged, plan.target, plan.destinations, plan.maps)
    return PrunePlan(plan.left, plan.merged, plan.kept.shape[1] + plan.target)
