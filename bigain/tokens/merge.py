"""Merging: sources are averaged into similar destinations and get their destination's output back (ToMe, BiGain_TM)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bigain.methods.counts import removed_tokens
from bigain.tokens import kernels, matching
from bigain.tokens.grid import TokenGrid
from bigain.tokens.scores import SCORES


@dataclass(frozen=True)
class Maps:
    """Index tables of a merge for the kernels, int32. `place` [B, N]: each token's place in the short sequence.
    `members` [B, D + r]: the tokens averaged into each destination, from `starts` [B, D] on."""

    place: Tensor
    members: Tensor
    starts: Tensor

    def of_rows(self, rows: Tensor) -> Maps:
        """Return the maps of a batch whose k-th row is row `rows[k]` of this one."""
        return Maps(self.place[rows], self.members[rows], self.starts[rows])


@dataclass(frozen=True)
class TokenPlan:
    """A merge of N tokens into N' = N - r, decided from one tensor and applicable to any other of the same grid.

    Token indices: of the S = N - D sources, `kept` [B, S - r] and `merged` [B, r]; `destinations` [B, D]. `target`
    [B, r] is the place in `destinations` to which each merged source goes. `maps` are set where kernels run.
    """

    kept: Tensor
    merged: Tensor
    target: Tensor
    destinations: Tensor
    maps: Maps | None = None

    @property
    def left(self) -> Tensor:
        """The token whose place each token of the short sequence takes: kept sources, then destinations, [B, N']."""
        return torch.cat([self.kept, self.destinations], dim=1)

    def reduce(self, x: Tensor) -> Tensor:
        """Return kept sources, then equal-weight means of destinations and their sources: [B, N, C] -> [B, N', C]."""
        if self.maps is not None and kernels.uses("reduce", x):
            from bigain.tokens.kernels import moving

            return moving.reduce(x, self.kept, self.maps.members, self.maps.starts)
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
        maps = None if self.maps is None else self.maps.of_rows(rows)
        return type(self)(self.kept[rows], self.merged[rows], self.target[rows], self.destinations[rows], maps)

    @property
    def sizes(self) -> Tensor:
        """The number of tokens that each token of the short sequence stands for, in float32: [B, N']."""
        ones = torch.ones(self.kept.shape[0], self.destinations.shape[1], device=self.kept.device)
        members = ones.scatter_add(1, self.target, torch.ones(self.target.shape, device=ones.device))
        return torch.cat([torch.ones(self.kept.shape, device=ones.device), members], dim=1)

    def restore(self, y: Tensor) -> Tensor:
        """Return every token at its place, merged sources as copies of their destinations: [B, N', C] -> [B, N, C]."""
        if self.maps is not None and kernels.uses("restore", y):
            from bigain.tokens.kernels import moving

            return moving.restore(y, self.maps.place)
        return matching.rows(y, self.place())

    def place(self) -> Tensor:
        """Return the place of every token in the short sequence: [B, N]."""
        sources, left = self.kept.shape[1], self.kept.shape[1] + self.destinations.shape[1]
        place = torch.arange(left, device=self.kept.device).expand(len(self.kept), -1)
        tokens = torch.cat([self.kept, self.destinations, self.merged], dim=1)
        return torch.empty_like(tokens).scatter_(1, tokens, torch.cat([place, sources + self.target], dim=1))

    def mapped(self, place: Tensor | None = None) -> TokenPlan:
        """Return this plan with maps where kernels run; `place` [B, N] int32 saves computing it."""
        tokens = self.kept.shape[1] + self.merged.shape[1] + self.destinations.shape[1]
        if not kernels.uses("group", self.merged) or tokens > kernels.LARGEST_TOKENS:
            return self
        from bigain.tokens.kernels import grouping

        members, starts = grouping.group(self.merged, self.target, self.destinations, tokens)
        return replace(self, maps=Maps(self.place().int() if place is None else place, members, starts))


def soft_matching(
    metric: Tensor,
    destinations: Tensor,
    removed: int,
    protected: Tensor | None = None,
    inverse_norms: Tensor | None = None,
) -> TokenPlan:
    """Merge the `removed` most similar sources: bipartite soft matching (ToMe; Algorithm 2, steps 3-4).

    `metric` [B, N, C], `destinations` [B or 1, D] token indices. The tokens `protected` [B, P] keep their value: as
    sources they go last, as destinations they receive nothing. Ties go to the lowest index. `inverse_norms` are those
    of `matching.best_destinations`.
    """
    destinations = destinations.expand(len(metric), -1)
    sources, destinations = matching.split(destinations, metric.shape[1])
    is_protected, closed = None, None
    if protected is not None:
        is_protected = torch.zeros(metric.shape[:2], dtype=torch.bool, device=metric.device).scatter(1, protected, True)
        closed = is_protected.gather(1, destinations)
    similarity, target = matching.best_destinations(metric, sources, destinations, inverse_norms, closed)
    if is_protected is not None:
        similarity = similarity.masked_fill(is_protected.gather(1, sources), -torch.inf)
    return merge_most_similar(similarity, sources, target, destinations, removed)


def merge_most_similar(
    similarity: Tensor, sources: Tensor, target: Tensor, destinations: Tensor, removed: int
) -> TokenPlan:
    """Merge the `removed` sources of largest `similarity` [B, S] into the destinations at their `target` [B, S].

    Ties go to the lowest index.
    """
    if kernels.uses("select", similarity) and sources.shape[1] <= kernels.LARGEST_SELECTION:
        from bigain.tokens.kernels import selecting

        kept, merged, goes_to, place = selecting.select(similarity, sources, target, destinations, removed)
        return TokenPlan(kept, merged, goes_to, destinations).mapped(place)
    merged = matching.highest(similarity, removed)
    kept, _ = matching.split(merged, sources.shape[1])
    plan = TokenPlan(sources.gather(1, kept), sources.gather(1, merged), target.gather(1, merged), destinations)
    return plan.mapped()


def merge_random(metric: Tensor, grid: TokenGrid, ratio: float, cell: tuple[int, int], offsets: Tensor) -> TokenPlan:
    """Merge into one random destination per cell, at the `offsets` [B or 1, D] that the caller draws: ToMe (tomesd)."""
    removed = removed_tokens(ratio, grid.height, grid.width, cell)
    return soft_matching(metric, matching.at_offsets(offsets, grid, cell), removed)


def merge_top_left(metric: Tensor, grid: TokenGrid, ratio: float, cell: tuple[int, int]) -> TokenPlan:
    """Merge into the first token of each cell: ToMe's deterministic control."""
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
    """Merge into the smoothest token of each cell: BiGain_TM, Laplacian-gated token merging (Algorithm 2).

    `destinations` is a key of `DESTINATIONS`, the rules that pick them; the int(N * protect) highest-scoring tokens
    keep their value. Raises ValueError if the ratio cannot be reached, also because too many tokens are protected.
    """
    removed = removed_tokens(ratio, grid.height, grid.width, cell, protect)
    scores, chosen, inverse_norms = _smooth_destinations(metric, grid, cell, score, destinations)
    protected = matching.highest(scores, int(grid.tokens * protect)) if protect else None
    if protected is not None and destinations == "cell_argmax":  # unprotected, since a protected one receives nothing
        chosen = matching.cell_argmax(scores.scatter(1, protected, -torch.inf), grid, cell)
    return soft_matching(metric, chosen, removed, protected, inverse_norms)


def merge_shuffled(
    metric: Tensor, grid: TokenGrid, ratio: float, cell: tuple[int, int], score: str, order: Tensor
) -> TokenPlan:
    """Merge as BiGain_TM does after shuffling the scores among a sample's tokens: a control that ignores detail.

    `order` [B or 1, N] are random numbers that the caller draws; their order is the shuffle.
    """
    removed = removed_tokens(ratio, grid.height, grid.width, cell)
    scores = matching.shuffled(SCORES[score](metric, grid), order)
    return soft_matching(metric, matching.cell_argmin(scores, grid, cell), removed)


def _smooth_destinations(
    metric: Tensor, grid: TokenGrid, cell: tuple[int, int], score: str, destinations: str
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the scores [B, N], the destinations [B, D], and the inverse norms [B, N] where a kernel computes them."""
    whole_cells = (grid.height // cell[0]) * (grid.width // cell[1])
    in_kernel = score in kernels.SCORES and destinations == "cell_argmin" and cell[0] * cell[1] <= kernels.LARGEST_CELL
    if in_kernel and whole_cells and kernels.uses("score", metric):
        from bigain.tokens.kernels import scoring

        scores, inverse_norms, lowest = scoring.score(metric, grid.height, grid.width, *cell, score)
        return scores, lowest, inverse_norms
    scores = SCORES[score](metric, grid)
    return scores, DESTINATIONS[destinations](scores, grid, cell), None


DESTINATIONS = {
    "cell_argmin": matching.cell_argmin,
    "cell_argmax": matching.cell_argmax,
    "official_v1": matching.official_v1,
}
