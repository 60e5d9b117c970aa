"""Token operators: pure functions on tensors. They see no model, no config and draw nothing random themselves."""

from bigain.tokens.downsample import average, interpolate_extrapolate, nearest
from bigain.tokens.grid import TokenGrid
from bigain.tokens.merge import TokenPlan, merge_random, merge_smooth, merge_top_left

OPERATORS = {
    "merge_random": merge_random,
    "merge_top_left": merge_top_left,
    "merge_smooth": merge_smooth,
    "nearest": nearest,
    "average": average,
    "interpolate_extrapolate": interpolate_extrapolate,
}

__all__ = ["OPERATORS", "TokenGrid", "TokenPlan", *OPERATORS]
