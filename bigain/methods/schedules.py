"""Strength of a method over the timesteps of denoising: a window, and a ratio or factor that depends on t. No torch.

Timesteps are those of training, 0 (image) to 999 (noise), fractions included; a flow model's is 1000 sigma.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

from bigain.methods.method import Linear, Method, StrengthKind

Constant = float | int
Varying = Linear | Callable[[float], float]
TIMESTEPS = range(1000)
STEPS = 10_000  # of merge ratios that are tried to suggest one
IDENTITY: dict[StrengthKind, Constant] = {"merge_ratio": 0.0, "downsample_factor": 1}  # strengths that reduce nothing
MOST_VISITS = 10  # parts of the timesteps for which the cost of a continuously varying strength is measured


def even(timesteps: range = TIMESTEPS) -> dict[int, float]:
    """Return equal shares of all timesteps."""
    return dict.fromkeys(timesteps, 1 / len(timesteps))


def checked_window(first: float, last: float) -> tuple[float, float]:
    """Return a window of timesteps. Raises ValueError unless it goes from high to low, within 1000 and 0."""
    if not 1000 >= first >= last >= 0:
        raise ValueError(
            f"timesteps ({first:g}, {last:g}) are not allowed: they go from high (noise) to low (image), from at most "
            "1000 to at least 0, as in (900, 200)"
        )
    return first, last


class NothingReducedError(ValueError):
    """A strength that leaves every token where it is, though it is not the one that stands for no compression."""


@dataclass(frozen=True)
class Schedule:
    """The strength of a method at every timestep.

    `strength` is constant, linear in t or a function of t; a linear factor is rounded to a whole number. `window`
    (high, low) holds the timesteps at which the method acts, both included; None is all of them.
    """

    method: Method
    strength: Constant | Varying
    window: tuple[float, float] | None = None

    @property
    def is_constant(self) -> bool:
        """Return whether the strength is the same at every timestep, except perhaps t = 0 (`skip_t0`)."""
        fixed = isinstance(self.strength, int | float)
        return fixed and self.window is None and self.method.ratio_times is None

    @property
    def reads_timestep(self) -> bool:
        """Return whether what the method does depends on the timestep."""
        return self.method.skip_t0 or not self.is_constant

    def at(self, t: float) -> Constant | None:
        """Return the strength at t; None where the model stays as it is.

        Raises ValueError for a strength that the method does not take.
        """
        if self.method.skip_t0 and t == 0:
            return None
        if self.window is not None and not self.window[1] <= t <= self.window[0]:
            return None
        t = min(max(t, 0), TIMESTEPS[-1])
        strength = self.strength
        if isinstance(strength, Linear):
            strength = strength.at(t)
            if self.method.strength_kind == "downsample_factor":
                strength = round(strength)
        elif not isinstance(strength, int | float):
            strength = strength(t)
        try:
            if self.method.ratio_times is not None:
                strength = self.method.plain_strength(strength) * self.method.ratio_times.at(t)
            return self.method.check_strength(strength)
        except ValueError as error:
            raise ValueError(f"{error} (at t = {t:g})") if not self.is_constant else error from None

    @cached_property
    def strengths(self) -> dict[Constant, float]:
        """Every strength that occurs at t = 0 to 999, with its share of them. Raises as `at` does."""
        shares: dict[Constant, float] = {}
        for t, share in even().items():
            strength = self.at(t)
            if strength is not None:
                shares[strength] = shares.get(strength, 0.0) + share
        return shares

    def visits(self, shares: Mapping[int, float] | None = None) -> list[tuple[float, float]]:
        """Return timesteps that stand for those in `shares` (default: all, evenly), in order, each with its share.

        Each stands for a run of timesteps of equal strength, or, if there are more than ten runs, for a tenth of all
        timesteps. A constant strength has a single one.
        """
        if self.is_constant:
            return [(500.0, 1.0)]
        items = sorted((even() if shares is None else shares).items())
        runs = [list(run) for _, run in groupby(items, key=lambda item: self.at(item[0]))]
        if len(runs) > MOST_VISITS:
            size = -(-len(items) // MOST_VISITS)
            runs = [
                list(run)
                for start in range(0, len(items), size)
                for _, run in groupby(items[start : start + size], key=lambda item: self.at(item[0]) is None)
            ]
        return [(run[len(run) // 2][0], sum(share for _, share in run)) for run in runs]

    def tokens_left(self, height: int, width: int) -> tuple[float, float]:
        """Return N' queries and M keys of a height x width grid, as `Method.tokens_left` does: means over t = 0 to 999
        where they depend on t. Raises ValueError if a strength cannot be reached on it."""
        if self.is_constant:
            return self.method.tokens_left(self.at(1), height, width)
        left = [(share, self.method.tokens_left(strength, height, width)) for strength, share in self.strengths.items()]
        rest = (1 - sum(share for share, _ in left)) * height * width
        queries, keys = (rest + sum(share * tokens[kind] for share, tokens in left) for kind in (0, 1))
        return queries, keys

    def check_effect(self, grids: Sequence[tuple[int, int]]) -> None:
        """Raise NothingReducedError if no strength reduces any of the grids (heights and widths), as a merge ratio
        below 1 / N does, unless all are 0 or, of factors, 1: they ask for no reduction."""
        strengths = [self.at(1)] if self.is_constant else sorted(self.strengths, reverse=True)
        acting = [strength for strength in strengths if strength not in (None, IDENTITY.get(self.method.strength_kind))]
        if not acting or not grids or any(self._reduces(strength, grids) for strength in acting):
            return
        sizes = " and ".join(dict.fromkeys(f"{height}x{width}" for height, width in grids))
        smallest = next((k / STEPS for k in range(1, STEPS) if self._reduces(k / STEPS, grids)), None)
        remedy = "" if smallest is None else f"; {smallest:g} is the smallest that does, to four digits"
        raise NothingReducedError(f"{self.method.id}: strength {self} removes no token of {sizes} grids{remedy}")

    def _reduces(self, strength: Constant | None, grids: Sequence[tuple[int, int]]) -> bool:
        """Return whether the method at a strength leaves fewer queries or keys on any of the grids."""
        return any(min(self.method.tokens_left(strength, *grid)) < grid[0] * grid[1] for grid in grids)

    def constant_method(self) -> Method:
        """Return the method without what makes it depend on t."""
        return replace(self.method, timesteps=None, ratio_times=None, skip_t0=False)

    def __str__(self) -> str:
        strength = self.strength
        text = f"{strength.start:g} to {strength.end:g}" if isinstance(strength, Linear) else f"{strength}"
        if callable(strength):
            text = getattr(strength, "__name__", repr(strength)) + "(t)"
        return text if self.window is None else f"{text} at t = {self.window[0]:g} to {self.window[1]:g}"
