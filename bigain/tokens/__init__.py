"""Token operators: pure functions on tensors. They see neither model nor config and draw no random numbers.

An operator that merges or prunes returns a plan, one that downsamples returns the reduced keys and values.
"""

from collections.abc import Callable
from typing import Any

from bigain.tokens.adaptive import merge_above
from bigain.tokens.blocks import RaggedPlan, merge_cells
from bigain.tokens.controls import merge_best, merge_blindly
from bigain.tokens.downsample import average, interpolate_extrapolate, most_detailed, nearest, smoothest
from bigain.tokens.facility import TilePlan, merge_tiles
from bigain.tokens.fourier import merge_fourier
from bigain.tokens.fusion import fuse
from bigain.tokens.grid import TokenGrid
from bigain.tokens.importance import merge_unimportant
from bigain.tokens.merge import TokenPlan, merge_random, merge_shuffled, merge_smooth, merge_top_left
from bigain.tokens.prune import PrunePlan, prune_similar

Plan = TokenPlan | TilePlan | RaggedPlan | PrunePlan

OPERATORS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        merge_random,
        merge_top_left,
        merge_smooth,
        merge_shuffled,
        merge_cells,
        merge_tiles,
        merge_above,
        merge_fourier,
        merge_blindly,
        merge_best,
        fuse,
        merge_unimportant,
        prune_similar,
        nearest,
        average,
        interpolate_extrapolate,
        most_detailed,
        smoothest,
    )
}

__all__ = ["OPERATORS", "Plan", "PrunePlan", "RaggedPlan", "TilePlan", "TokenGrid", "TokenPlan"]
