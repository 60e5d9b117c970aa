"""Token operators: pure functions on tensors. They see no model, no config and draw nothing random themselves."""

from bigain.tokens.blocks import merge_cells
from bigain.tokens.downsample import average, interpolate_extrapolate, most_detailed, nearest, smoothest
from bigain.tokens.grid import TokenGrid
from bigain.tokens.merge import TokenPlan, merge_random, merge_smooth, merge_top_left
from bigain.tokens.prune import PrunePlan, prune_similar

OPERATORS = {
    function.__name__: function
    for function in (
        merge_random,
        merge_top_left,
        merge_smooth,
        merge_cells,
        prune_similar,
        nearest,
        average,
        interpolate_extrapolate,
        most_detailed,
        smoothest,
    )
}

__all__ = ["OPERATORS", "PrunePlan", "TokenGrid", "TokenPlan"]
