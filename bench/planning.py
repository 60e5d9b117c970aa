"""The cost of planning a merge, in comparison with tomesd, at the highest resolution of Stable Diffusion's U-Net."""

from __future__ import annotations

import tomesd.merge
import torch

from bench.rounds import ROUNDS, Row, compare
from bigain.tokens import TokenGrid
from bigain.tokens.merge import merge_smooth, merge_top_left

GRID, CHANNELS, BATCH, RATIO = TokenGrid(64, 64), 320, 4, 0.5


def planning(rounds: int = 2 * ROUNDS + 1) -> list[Row]:
    """Time tomesd (which does not score tokens), `tome_fixed` and `bigain_tm`."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x = torch.randn(BATCH, GRID.tokens, CHANNELS, generator=torch.Generator().manual_seed(0)).to(device)
    removed = int(GRID.tokens * RATIO)
    arms = {
        "tomesd, top-left": lambda: tomesd.merge.bipartite_soft_matching_random2d(
            x, GRID.width, GRID.height, 2, 2, removed, no_rand=True
        ),
        "tome_fixed": lambda: merge_top_left(x, GRID, RATIO, (2, 2)),
        "bigain_tm": lambda: merge_smooth(x, GRID, RATIO, (2, 2), "laplacian_l1"),
    }
    with torch.inference_mode():
        return compare("planning", f"{BATCH} maps of {GRID} x {CHANNELS}", arms, rounds)
