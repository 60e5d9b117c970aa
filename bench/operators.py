"""Time the parts of a compressed block separately: planning and its steps, reducing, restoring, attention.

A call is timed twice: in eager mode, where Python starts every kernel, and as the replay of a CUDA graph, which takes
only the time of the kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from statistics import median
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.ceilings import median_seconds
from bench.rounds import Row, seconds
from bigain.methods.presets import CELL
from bigain.tokens import TokenGrid, blocks, downsample, kernels, matching, merge, scores

# The token maps of Stable Diffusion 2.0 at 512 (two levels), 768 and 1,024 pixels: their side and channels.
MAPS = ((32, 640), (64, 320), (96, 320), (128, 320))
ROWS, HEAD = 8, 64  # of a batch; channels of an attention head
RATIO, FACTOR = 0.7, 2
CALLS = 20
# Other tiles to time: sources, destinations and channels of a program of the matching kernel, its warps and stages.
TILES = ((128, 128, 64, 8, 3), (128, 64, 64, 4, 3), (64, 128, 64, 4, 3), (128, 64, 32, 4, 3), (64, 64, 32, 4, 3))

Calls = dict[str, Callable[[], object]]


def operators(maps: tuple[tuple[int, int], ...] = MAPS, batch: int = ROWS) -> Iterator[Row]:
    """Time every operator on every token map, by consecutive calls and as a CUDA graph."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for side, channels in maps:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(batch, side * side, channels, generator=generator).to(device, torch.bfloat16)
        case = f"{batch} x {side * side} x {channels}"
        with torch.inference_mode():
            rows = [
                {"case": case, "arm": name, **timed(run, device)}
                for name, run in calls(x, TokenGrid(side, side)).items()
            ]
        del x
        yield from rows


def timed(run: Callable[[], object], device: torch.device) -> Row:
    """Return the seconds of a call, eager and replayed; or its error, such as a tile that does not fit."""
    try:
        return {"eager": median_seconds(run, CALLS), "graph": replayed(run, device)}
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # of Triton's many kinds
        return {"note": f"{type(error).__name__}: {str(error).splitlines()[0][:100] if str(error) else ''}"}


def calls(x: Tensor, grid: TokenGrid) -> Calls:
    """Return the calls to time, by name, for tokens x [B, N, C]."""
    plan = merge.merge_smooth(x, grid, RATIO, CELL, "laplacian_l1")
    cells = blocks.merge_cells(x, grid, RATIO, CELL, "laplacian_l1", "token_matched", "max")
    sources, destinations = matching.split(plan.destinations, grid.tokens)
    assert isinstance(cells, merge.TokenPlan)  # not ragged: every image merges equally many cells
    short, fewer = plan.reduce(x), downsample.nearest(x, grid, FACTOR)
    plans: Calls = {
        "plan, bigain_tm": lambda: merge.merge_smooth(x, grid, RATIO, CELL, "laplacian_l1"),
        "plan, tome_fixed": lambda: merge.merge_top_left(x, grid, RATIO, CELL),
        "plan, bigain_tm_block": lambda: blocks.merge_cells(
            x, grid, RATIO, CELL, "laplacian_l1", "token_matched", "max"
        ),
    }
    return {
        **plans,
        "of a plan: score": lambda: scores.laplacian_l1(x, grid),
        "of a plan: sources and destinations": lambda: matching.split(plan.destinations, grid.tokens),
        "of a plan: norms and match": lambda: matching.best_destinations(x, sources, destinations),
        "reduce, bigain_tm": lambda: plan.reduce(x),
        "restore, bigain_tm": lambda: plan.restore(short),
        "reduce, bigain_tm_block": lambda: cells.reduce(x),
        "nearest": lambda: downsample.nearest(x, grid, FACTOR),
        "average": lambda: downsample.average(x, grid, FACTOR),
        "blend": lambda: downsample.interpolate_extrapolate(x, grid, FACTOR, 0.9),
        **{f"{name}, torch": by_torch(run) for name, run in plans.items() if kernels.uses("match", x)},
        "attention, all tokens": lambda: attend(x, x),
        "attention, merged": lambda: attend(short, short),
        "attention, fewer keys": lambda: attend(x, fewer),
        **alternatives(x, plan, sources, destinations),
    }


def by_torch(run: Callable[[], object]) -> Callable[[], object]:
    """Return a call without kernels."""

    def run_by_torch() -> object:
        with patch.object(kernels, "uses", lambda kernel, x: False):
            return run()

    return run_by_torch


def alternatives(x: Tensor, plan: merge.TokenPlan, sources: Tensor, destinations: Tensor) -> Calls:
    """Return other forms of some steps: torch's, which show the cost of float32 and of deterministic sums, and, where
    kernels run, each kernel and the matching kernel with other tiles."""
    unit = F.normalize(x.float(), dim=-1)
    batch, count = plan.destinations.shape
    place = (plan.target + count * torch.arange(batch, device=x.device).unsqueeze(1)).flatten()
    total, merged = matching.rows(x, plan.destinations).flatten(0, 1), matching.rows(x, plan.merged).flatten(0, 1)
    variants: Calls = {
        "sums: index_add": lambda: total.index_add(0, place, merged),
        "sums: index_put, accumulating": lambda: total.index_put((place,), merged, accumulate=True),
        "match: torch, float32": lambda: by_chunks(unit, sources, destinations),
        "match: torch, bfloat16": lambda: by_chunks(unit.bfloat16(), sources, destinations),
    }
    if kernels.uses("match", x):
        variants |= of_kernels(x, plan, sources, destinations)
    return variants


def of_kernels(x: Tensor, plan: merge.TokenPlan, sources: Tensor, destinations: Tensor) -> Calls:
    """Return a call of every kernel of a plan, and of the matching kernel with other tiles and in float32."""
    from bigain.tokens.kernels import grouping, scoring, selecting
    from bigain.tokens.kernels import matching as products

    side = math.isqrt(x.shape[1])
    removed = plan.merged.shape[1]
    _, norms, _ = scoring.score(x, side, side, *CELL, "laplacian_l1")
    similarity, target = products.match(x, norms, sources, destinations)
    single = x.float()

    def tiled(tile: tuple[int, ...]) -> Callable[[], object]:
        def run() -> object:
            with patch.object(products, "HALF", tile):
                return products.match(x, norms, sources, destinations)

        return run

    return {
        "kernel: score, norms, lowest of each cell": lambda: scoring.score(x, side, side, *CELL, "laplacian_l1"),
        "kernel: norms": lambda: scoring.score(x, 1, x.shape[1], 1, 1, "none"),
        "kernel: match": lambda: products.match(x, norms, sources, destinations),
        "kernel: match, float32": lambda: products.match(single, norms, sources, destinations),
        "kernel: select": lambda: selecting.select(similarity, sources, target, destinations, removed),
        "kernel: group": lambda: grouping.group(plan.merged, plan.target, plan.destinations, x.shape[1]),
        **{f"kernel: match, tile {' '.join(map(str, tile))}": tiled(tile) for tile in TILES},
    }


def by_chunks(unit: Tensor, sources: Tensor, destinations: Tensor) -> Tensor:
    """Return every source's most similar destination, with the similarities written to memory."""
    targets = matching.rows(unit, destinations).transpose(1, 2)
    chunk = max(1, 16 * matching.SIMILARITIES // (targets.shape[0] * targets.shape[2]))
    return torch.cat([(matching.rows(unit, part) @ targets).max(dim=-1).indices for part in sources.split(chunk, 1)], 1)


def attend(x: Tensor, y: Tensor) -> Tensor:
    """Attend from queries [B, N, C] to keys and values [B, M, C] with SDPA, in heads of `HEAD` channels."""
    queries, keys = (z.unflatten(2, (-1, HEAD)).transpose(1, 2) for z in (x, y))
    return F.scaled_dot_product_attention(queries, keys, keys)


def replayed(run: Callable[[], object], device: torch.device) -> float | None:
    """Return the seconds of a call replayed from a CUDA graph; None where it cannot be captured."""
    if device.type != "cuda":
        return None
    replay = captured(run, CALLS)
    return None if replay is None else median(seconds(replay) for _ in range(5)) / CALLS


def captured(run: Callable[[], object], calls: int = 1) -> Callable[[], object] | None:
    """Return the replay of a CUDA graph of some calls; None where they cannot be captured."""
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            for _ in range(calls):
                run()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # it waits for the device
        torch.cuda.synchronize()
        return None

    def replay(run: Callable[[], object] = run) -> None:  # which keeps the tensors that the graph reads
        graph.replay()

    return replay
