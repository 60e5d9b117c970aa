"""Strengths at equal operations: what a method's strength has to be to save a given share of a model's FLOPs."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from diffusers import ModelMixin

from bigain.compression.structural.operations import latent_side
from bigain.measure.flops import count
from bigain.methods.ids import method_of, strength_of
from bigain.methods.options import Sites
from bigain.methods.schedules import NothingReducedError

HUNDREDTHS = 100  # merge ratios are matched to 0.01


class Matched(NamedTuple):
    """A strength and the percentage of all operations that the method saves with it."""

    strength: float | int
    saved_percent: float


def nearest_strength(
    model: ModelMixin,
    method_id: str,
    budget: float,
    sites: Sites,
    side: int | None = None,
    tokens: int | None = None,
) -> Matched:
    """Return the strength that saves nearest to `budget` percent of the operations of a model on the meta device.

    The candidates are merge ratios in steps of 0.01, up to the largest that the model's grids can reach, and all whole
    downsample factors. `side` and `tokens` are those of the latent and of a prompt, as `count` takes them. Raises
    ValueError for methods whose operations are not counted: structural ones, which are calibrated to a budget, and
    those whose plan depends on the image.
    """
    method = method_of(method_id)
    if method.strength_kind not in ("merge_ratio", "downsample_factor") or method.depends_on_image:
        raise ValueError(f"{method_id}: how many operations it saves is not counted from its strength alone")
    uncompressed = count(model, "none", side, tokens).total

    def strength(step: int) -> float | int:
        return step / HUNDREDTHS if method.strength_kind == "merge_ratio" else step

    @cache
    def saved(step: int) -> float | None:
        """Return the percentage saved, None for a strength that the grids cannot reach."""
        try:
            counted = count(model, method_id, side, tokens, **sites, **strength_of(method_id, strength(step)))
        except NothingReducedError:
            return 0.0
        except ValueError:
            return None
        return 100 * (1 - counted.total / uncompressed)

    low, high = 1, HUNDREDTHS if method.strength_kind == "merge_ratio" else (side or _longest_side(model)) + 1
    while high - low > 1:
        middle = (low + high) // 2
        reached = saved(middle)
        low, high = (middle, high) if reached is not None and reached <= budget else (low, middle)
    reachable = {step: reached for step in (low, high) if (reached := saved(step)) is not None}
    if not reachable:
        raise ValueError(f"{method_id}: no strength fits the grids of the model")
    step = min(reachable, key=lambda step: abs(reachable[step] - budget))
    return Matched(strength(step), reachable[step])


def _longest_side(model: ModelMixin) -> int:
    size = latent_side(model)
    return size if isinstance(size, int) else max(size)
