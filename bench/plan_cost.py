"""Planning cost of bigain_tm beside tomesd's own matching, on one map: `python bench/plan_cost.py`.

Both decide which tokens to merge; tomesd's does not score them. Rounds alternate, so that whatever else the machine
does meets both; the figure is the median of the rounds' ratios.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import tomesd.merge
import torch

from bigain.tokens import TokenGrid
from bigain.tokens.merge import merge_smooth, merge_top_left

GRID, CHANNELS, BATCH, RATIO, ROUNDS = TokenGrid(64, 64), 320, 4, 0.5, 15


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    """Print each arm's median seconds and its ratio to tomesd's."""
    x = torch.randn(BATCH, GRID.tokens, CHANNELS, generator=torch.Generator().manual_seed(0))
    removed = int(GRID.tokens * RATIO)
    arms = {
        "tomesd, top-left": lambda: tomesd.merge.bipartite_soft_matching_random2d(
            x, GRID.width, GRID.height, 2, 2, removed, no_rand=True
        ),
        "tome_fixed": lambda: merge_top_left(x, GRID, RATIO, (2, 2)),
        "bigain_tm": lambda: merge_smooth(x, GRID, RATIO, (2, 2), "laplacian_l1"),
    }
    with torch.inference_mode():
        for run in arms.values():
            run()
        rounds = [{name: seconds(run) for name, run in arms.items()} for _ in range(ROUNDS)]
    print(f"{BATCH} maps of {GRID} x {CHANNELS}, ratio {RATIO}, {torch.get_num_threads()} threads, median of {ROUNDS}")
    for name in arms:
        ratio = statistics.median(one[name] / one["tomesd, top-left"] for one in rounds)
        print(f"{name:18} {1e3 * statistics.median(one[name] for one in rounds):8.1f} ms   {ratio:.2f} of tomesd's")


if __name__ == "__main__":
    main()
