"""Bipartite soft matching: which tokens are destinations, and which source is merged into which destination."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bigain.tokens import kernels
from bigain.tokens.grid import TokenGrid

SIMILARITIES = 2**24  # computed at once, 64 MB in float32


def top_left(grid: TokenGrid, cell: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """Return the first token of every cell: [1, D]."""
    return grid.cell_tokens(cell, device)[:, 0].unsqueeze(0)


def at_offsets(offsets: Tensor, grid: TokenGrid, cell: tuple[int, int]) -> Tensor:
    """Return the token at a row-major offset in every cell: offsets [B, D] below the cell's size -> [B, D]."""
    cells = grid.cell_tokens(cell, offsets.device)
    return cells.expand(len(offsets), -1, -1).gather(2, offsets.unsqueeze(-1)).squeeze(-1)


def cell_argmin(scores: Tensor, grid: TokenGrid, cell: tuple[int, int]) -> Tensor:
    """Return the lowest-scoring token of every cell (Algorithm 2, step 2): scores [B, N] -> [B, D]; first on ties."""
    return at_offsets(scores[:, grid.cell_tokens(cell, scores.device)].argmin(dim=-1), grid, cell)


def cell_argmax(scores: Tensor, grid: TokenGrid, cell: tuple[int, int]) -> Tensor:
    """Return the highest-scoring token of every cell: scores [B, N] -> [B, D]; first on ties."""
    return at_offsets(scores[:, grid.cell_tokens(cell, scores.device)].argmax(dim=-1), grid, cell)


def shuffled(scores: Tensor, order: Tensor) -> Tensor:
    """Permute a sample's scores [B, N]: the i-th token gets the score of the i-th highest in `order` [B or 1, N]."""
    return scores.gather(1, highest(order, scores.shape[1]).expand_as(scores))


def official_v1(scores: Tensor, grid: TokenGrid, cell: tuple[int, int]) -> Tensor:
    """Pick destinations as the paper's released code does: scores [B, N] -> [B, D].

    It cuts the row-major scores into runs of a cell's size instead of into cells, and uses the place of the lowest
    score in the k-th run as the place in the k-th cell: deterministic, but not the smoothest token of a cell. A strip
    at the bottom that is too low for a cell is left out. Raises ValueError if cells do not fill the width, as the
    released code does.
    """
    size, rows_of_cells = cell[0] * cell[1], grid.height // cell[0]
    if grid.width % cell[1]:
        raise ValueError(
            f"official_v1 needs rows of whole cells; {cell[0]}x{cell[1]} cells do not fill the width of {grid}"
        )
    whole = scores[:, : rows_of_cells * cell[0] * grid.width]
    return at_offsets(whole.unflatten(1, (whole.shape[1] // size, size)).argmin(dim=-1), grid, cell)


def split(destinations: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """Split all tokens into sources [B, N - D] and destinations [B, D], each in index order."""
    if kernels.uses("split", destinations):
        from bigain.tokens.kernels import selecting

        return selecting.split(destinations, tokens)
    is_destination = torch.zeros(len(destinations), tokens, dtype=torch.bool, device=destinations.device)
    is_destination.scatter_(1, destinations, True)
    so_far = is_destination.cumsum(dim=1)  # destinations up to and including each token
    index = torch.arange(tokens, device=destinations.device).expand_as(so_far)
    place = torch.where(is_destination, tokens - so_far[:, -1:] + so_far - 1, index - so_far)
    order = torch.empty_like(place).scatter_(1, place, index)
    count = tokens - destinations.shape[1]
    return order[:, :count], order[:, count:]


def highest(scores: Tensor, count: int) -> Tensor:
    """Return the places of the `count` highest scores, highest first: [B, N] float32 -> [B, count]; first on ties.

    Equals the start of a stable descending argsort on every device, without sorting the rest: each key holds a score
    and then its index, so that no two are equal and top-k leaves nothing to choose.
    """
    bits = scores.view(torch.int32).long()
    ordered = torch.where(bits < 0, -(2**31) - bits, bits)  # a float is a sign and a magnitude; -0 becomes 0
    backwards = torch.arange(scores.shape[1] - 1, -1, -1, device=scores.device)
    return (ordered * 2**32 + backwards).topk(count, dim=1).indices


def places(count: int, each: int, like: Tensor) -> Tensor:
    """Return 0 to `count` - 1, each `each` times, for the batch size and device of `like`: [B, count * each]."""
    index = torch.arange(count, device=like.device).repeat_interleave(each)
    return index.expand(len(like), -1)


def rows(x: Tensor, index: Tensor) -> Tensor:
    """Gather the tokens of x [B, N, C] at index [B, K]: [B, K, C]. Copies whole rows: faster than `torch.gather`."""
    return x[torch.arange(len(x), device=x.device).unsqueeze(1), index]


def sums(x: Tensor, place: Tensor, added: Tensor) -> Tensor:
    """Add every row of `added` [K, C] to the row of x [D, C] at its `place` [K], in float32 at least, also for halves.

    A GPU adds in the order of `added`, so that results are the same bit for bit: there, `index_add` has no fixed order,
    while `index_put` sorts first.
    """
    exact = torch.promote_types(x.dtype, torch.float32)
    x, added = x.to(exact), added.to(exact)
    if x.device.type != "cuda":
        return x.index_add(0, place, added)
    return sums_in_order(x, place, added) if torch.compiler.is_compiling() else _put(x, place, added)


def _put(x: Tensor, place: Tensor, added: Tensor) -> Tensor:
    return x.index_put((place,), added, accumulate=True)


# A custom operator under torch.compile, which would lower `index_put` to additions in no fixed order.
sums_in_order = torch.library.custom_op("bigain::sums_in_order", _put, mutates_args=())
sums_in_order.register_fake(lambda x, place, added: torch.empty_like(x))
sums_in_order.register_autograd(
    lambda ctx, gradient: (gradient, None, gradient[ctx.place]),
    setup_context=lambda ctx, inputs, output: setattr(ctx, "place", inputs[1]),
)


def best_destinations(
    metric: Tensor,
    sources: Tensor,
    destinations: Tensor,
    inverse_norms: Tensor | None = None,
    closed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return every source's largest cosine to a destination (float32) and that destination's place: [B, S] each.

    `metric` [B, N, C]; ties go to the lowest place. A zero vector has cosine 0 to everything. The similarities are
    never all in memory: on a GPU with Triton none is written, elsewhere sources go in chunks of `SIMILARITIES` numbers.
    `inverse_norms` [B, N] of the tokens save the kernel a pass. No source chooses a `closed` [B, D] destination; if all
    are closed, its similarity is minus infinity.
    """
    if closed is None and kernels.uses("match", metric) and kernels.uses("score", metric):
        from bigain.tokens.kernels import matching, scoring

        if inverse_norms is None:
            _, inverse_norms, _ = scoring.score(metric, 1, metric.shape[1], 1, 1, "none")
        return matching.match(metric, inverse_norms, sources, destinations)
    unit = F.normalize(metric.float(), dim=-1)
    targets = rows(unit, destinations).transpose(1, 2)
    chunk = max(1, SIMILARITIES // (targets.shape[0] * targets.shape[2]))
    best, similarity = [], []
    for part in sources.split(chunk, dim=1):
        cosines = rows(unit, part) @ targets
        if closed is not None:
            cosines = cosines.masked_fill(closed.unsqueeze(1), -torch.inf)
        best.append(cosines.argmax(dim=-1))
        similarity.append(cosines.gather(-1, best[-1].unsqueeze(-1)).squeeze(-1))
    return torch.cat(similarity, dim=1), torch.cat(best, dim=1)
