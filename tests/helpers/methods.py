"""Method ids for tests that run many methods, and a strength of each kind."""

from __future__ import annotations

from bigain.methods.ids import method_of, strength_of
from bigain.methods.options import Strength
from bigain.methods.presets import METHODS

STRENGTHS = {
    "none": None,
    "merge_ratio": 0.5,
    "threshold": 0.8,
    "downsample_factor": 2,
    "flops_reduction_percent": 10,
}
# Presets that need no calibration and no guidance and run on every family, one graph for all images.
WITHOUT_CALIBRATION = [
    id
    for id, method in METHODS.items()
    if method.acts_on != "model" and method.blocks is None and not (method.depends_on_image or method.needs_guidance)
]
COMPRESSING_TOKENS = [id for id in WITHOUT_CALIBRATION if METHODS[id].acts_on != "nothing"]
WITH_VARIANTS = [
    *WITHOUT_CALIBRATION,
    "ca_tome",
    "toma@sa+ca+mlp",
    "bigain_tm@sa+ca+mlp",
    "bigain_tm@sa+mlp",
    "sito@sa+ca",
    "tome@sa+ca+mlp",
    "bigain_tm_block~rule-quantile",
    "bigain_tm~plan_for-model",
]


def record_options(attachment) -> list[dict]:
    """Record the operator options of each call of an attached method from now on."""
    seen, options_of = [], attachment.operator_options

    def recorded(site, device):
        seen.append(options_of(site, device))
        return seen[-1]

    attachment.operator_options = recorded
    return seen


def strength_for(method: str) -> float | None:
    """Return the strength at which tests run a method."""
    return STRENGTHS[method_of(method).strength_kind]


def arguments_for(method: str) -> Strength:
    """Return that strength as keyword arguments of `bigain.compressed`."""
    return strength_of(method, strength_for(method))
