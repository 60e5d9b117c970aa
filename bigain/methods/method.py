"""A compression method as data: an operator of `bigain.tokens`, its options and where it acts. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import Any, Literal

from bigain.core.plain_numbers import real_number
from bigain.methods import counts

Family = Literal["unet", "dit", "mmdit", "flux"]
Task = Literal["classification", "generation"]
StrengthKind = Literal["none", "merge_ratio", "threshold", "downsample_factor", "flops_reduction_percent"]


@dataclass(frozen=True)
class Linear:
    """A value that is linear in the timestep: `start` at t = 999 (noise), `end` at t = 0 (image)."""

    start: float
    end: float

    def at(self, t: Any) -> Any:
        """Return start * t / 999 + end * (1 - t / 999), for a number or a tensor t."""
        return self.start * (t / 999) + self.end * (1 - t / 999)


@dataclass(frozen=True)
class ByTask:
    """An option that depends on the backbone's family and the task. `dit` is for every transformer."""

    unet_classification: float
    unet_generation: float | Linear
    dit: float

    def resolve(self, family: Family, task: Task) -> float | Linear:
        """Return the value for one family and task."""
        if family != "unet":
            return self.dit
        return self.unet_classification if task == "classification" else self.unet_generation


class Draw(Enum):
    """An option that is drawn at random for every call of the operator, keyed by the row of the batch."""

    PLACES = "a uniformly drawn place in every cell: integers [B, D] below the cell's size"
    NORMALS = "a standard normal number for every token: [B, N]"
    INTEGERS = "three integers for every token, uniform below 2^31: [B, 3, N]"


class Given(Enum):
    """An option whose value the model supplies at every call of the operator."""

    DEPTH = "the block's place among the model's blocks with self-attention, as a fraction from 0 to below 1"
    GUIDANCE = "how much guidance changed every token at the step before, |eps_c - eps_0|: [B, N]; None if unknown"


@dataclass(frozen=True)
class Method:
    """A compression method, as data.

    operator: key of `bigain.tokens.OPERATORS`, or the name of a structural method (`bigain.compression.structural`).
    acts_on: what the operator returns: a plan that merges `tokens` before a layer and restores them after it, or
        reduced `keys_values`. Structural methods act on the `model` and are calibrated to a reduction of operations.
    options: keyword arguments of the operator.
    layers: layers of a block that run on merged tokens: self-attention (sa), cross-attention (ca, its queries),
        feed-forward (mlp).
    plan_for: what shares one plan in a forward pass: a block, the blocks of a stage, or the whole model.
    draws_per: how often a block's random numbers are drawn: for every forward pass, or once for every noised image, the
        same for all classes.
    skip_t0: leave the model alone at t = 0, as the released code does.
    clamp: lower a merge ratio that a grid cannot reach to the largest that it can; otherwise it is an error.
    noise_per: how often the classifier draws an image's noise: for every timestep, or once for all timesteps, which are
        then visited from high to low as in sampling (for methods that reuse what an earlier step computed).
    timesteps: the first and the last timestep at which the method acts, high to low; None: all.
    ratio_times: factor of the merge ratio, linear in t; None: 1.
    attention: `proportional` adds the log of its group's size to the logits of every merged key; None: plain attention.
    levels, blocks: where a method acts in a U-Net and in a transformer (blocks may be named, as in
        `bigain.methods.places`); they override the backbone's.
    """

    id: str
    label: str
    operator: str = ""
    acts_on: Literal["nothing", "tokens", "keys_values", "model"] = "nothing"
    strength_kind: StrengthKind = "none"
    options: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[str, ...] = ("sa",)
    plan_for: Literal["block", "stage", "model"] = "block"
    draws_per: Literal["forward", "noised_image"] = "forward"
    skip_t0: bool = False
    clamp: bool = False
    noise_per: Literal["timestep", "image"] = "timestep"
    timesteps: tuple[float, float] | None = None
    ratio_times: Linear | None = None
    attention: Literal["proportional"] | None = None
    levels: tuple[int, ...] | None = None
    blocks: tuple[int, ...] | str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", dict(self.options))  # no proxy, which torch.compile cannot trace

    def check_strength(self, strength: Any) -> float | int | None:
        """Return the strength in its kind's type. Raises ValueError naming the method and what is allowed."""
        match self.strength_kind, None if strength is None else self.plain_strength(strength):
            case "none", None:
                return None
            case "merge_ratio", int() | float() as number if 0 <= number < 1:
                return float(number)
            case "threshold", int() | float() as number if 0 <= number <= 1:
                return float(number)
            case "downsample_factor", int() | float() as number if 1 <= number < inf and number == int(number):
                return int(number)
            case "flops_reduction_percent", int() | float() as number if 0 < number < 100:
                return float(number)
        raise ValueError(self._not_allowed(strength))

    def plain_strength(self, strength: Any) -> float | int:
        """Return a strength, which may be NumPy's or PyTorch's, as a Python number. Raises ValueError for any else."""
        try:
            return real_number("strength", strength)
        except TypeError:
            raise ValueError(self._not_allowed(strength)) from None

    def _not_allowed(self, strength: Any) -> str:
        return f"{self.id}: strength {strength!r} is not allowed; it takes {STRENGTHS[self.strength_kind]}"

    def strength_on(self, strength: float | int, height: int, width: int) -> float | int:
        """Return the strength that the operator gets on a height x width grid: the largest possible if clamped."""
        if not self.clamp or not self._is_bounded:
            return strength
        protect = self.options.get("protect", 0.0)
        return min(strength, counts.largest_ratio(height, width, self.options["cell"], protect))

    @property
    def _is_bounded(self) -> bool:
        """Return whether there is a largest ratio below 1, because every cell keeps a token."""
        return "cell" in self.options and self.options.get("rule") not in ("tile_fraction", "quantile")

    @property
    def needs_guidance(self) -> bool:
        """Return whether the method reads the guidance of the previous step, so that it can only generate."""
        return Given.GUIDANCE in self.options.values()

    @property
    def depends_on_image(self) -> bool:
        """Return whether the number of tokens left depends on the image."""
        return self.strength_kind == "threshold" or self.options.get("rule") == "quantile"

    def tokens_left(self, strength: float | int | None, height: int, width: int) -> tuple[int, int]:
        """Return N' queries and M keys of a height x width grid; the fewest possible where they depend on the image.

        Raises ValueError if the strength cannot be reached on it.
        """
        tokens = height * width
        if self.acts_on in ("nothing", "model"):
            return tokens, tokens
        if strength is None:
            raise ValueError(f"{self.id} takes {STRENGTHS[self.strength_kind]}")
        if self.acts_on == "keys_values":
            rows, columns = counts.reduced_grid(int(strength), height, width)
            return tokens, rows * columns
        if "tile" in self.options:
            left = counts.left_of_tiles(strength, height, width, self.options["tile"])
            return left, left
        if "cell" not in self.options:
            left = 1 if self.strength_kind == "threshold" else tokens - int(tokens * strength)
            return left, left
        cell, strength = self.options["cell"], self.strength_on(strength, height, width)
        if "k" in self.options:
            counts.check_plans(self.options["k"], height, width, cell)
        if self.strength_kind == "threshold":
            left = counts.whole_cells(height, width, cell)  # every source is merged
            return left, left
        if self.options.get("destinations") == "official_v1" and width % cell[1]:
            raise ValueError(
                f"{self.id} needs rows of whole cells; {cell[0]}x{cell[1]} do not fill the width of {height}x{width}"
            )
        if "rule" in self.options:
            merged = counts.merged_cells(strength, height, width, cell, self.options["rule"])
            left = tokens - merged * (cell[0] * cell[1] - 1)
        else:
            left = tokens - counts.removed_tokens(strength, height, width, cell, self.options.get("protect", 0.0))
        return left, left


STRENGTHS: dict[StrengthKind, str] = {
    "none": "no strength",
    "merge_ratio": "a merge ratio from 0 to below 1 (the fraction of all tokens that is merged away)",
    "threshold": "a similarity from 0 to 1 (sources whose best cosine is at least this are merged)",
    "downsample_factor": "a whole downsample factor of at least 1 (per axis)",
    "flops_reduction_percent": "a reduction of operations, above 0 and below 100 percent, and a calibration for it",
}
