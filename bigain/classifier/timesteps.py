"""Timesteps of the diffusion classifier by stage (Table 10, on the grid of the released protocol). No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from bigain.core.rng import numpy_generator


def midpoints(count: int, total: int = 1000) -> list[int]:
    """Return the released grid: the midpoints of `count` intervals of `total` timesteps, of equal whole length.

    A `count` that does not divide `total` leaves out the last `total` mod `count` timesteps, as in the released code.
    Raises ValueError if these are a tenth or more, and for more midpoints than timesteps.
    """
    _check_trials(count, total)
    step = total // count
    if total - count * step >= total / 10:
        raise ValueError(
            f"{count} trials: their grid ends at t = {count * step} of {total}, since its step is a whole number; take "
            f"a number that divides {total}, such as {_nearest_divisor(count, total)}"
        )
    return [step // 2 + i * step for i in range(count)]


def _check_trials(count: int, total: int) -> None:
    """Raise ValueError if there are fewer timesteps than trials."""
    if count > total:
        raise ValueError(f"{count} trials: there are {total} timesteps, and each is tried once")


def _nearest_divisor(count: int, total: int) -> int:
    return min((k for k in range(1, total + 1) if total % k == 0), key=lambda k: abs(k - count))


@dataclass(frozen=True)
class Stages:
    """Stages of the adaptive classifier (Algorithm 1, Table 10), e.g. targets [5, 20] and keep [5, 1].

    Raises ValueError unless targets rise and each divides the last, `keep` falls to 1, and both are equally long.
    """

    targets: tuple[int, ...]  # trials per surviving class by the end of each stage, cumulative
    keep: tuple[int, ...]  # classes that survive each stage

    def __post_init__(self) -> None:
        targets, keep = self.targets, self.keep
        rising = all(a < b for a, b in pairwise(targets))
        falling = all(a > b for a, b in pairwise(keep))
        if not targets or len(targets) != len(keep) or not rising or not falling or keep[-1] != 1 or targets[0] < 1:
            raise ValueError(
                f"stages {list(targets)} keep {list(keep)}: `stages` has to rise and `keep` to fall to 1, both of "
                "the same length, as in stages [5, 20] keep [5, 1]"
            )
        if any(targets[-1] % target for target in targets):
            raise ValueError(f"stages {list(targets)}: each has to divide the last")

    @property
    def trials(self) -> int:
        """M, the number of timesteps at which a class that survives to the end is evaluated."""
        return self.targets[-1]

    def timesteps(self, total: int = 1000) -> list[list[int]]:
        """Return the new timesteps of each stage: evenly spaced subsets of one grid of M = targets[-1] midpoints.

        A stage leaves out what earlier stages evaluated. Where grids do not nest, the cumulative count exceeds the
        target, as in the released code: [5, 20, 100] evaluates 5, then 20 new, then 75. Raises what `midpoints` raises.
        """
        last = self.targets[-1]
        grid = midpoints(last, total)
        stages: list[list[int]] = []
        for target in self.targets:
            step = last // target
            seen = {t for stage in stages for t in stage}
            stages.append([t for t in grid[step // 2 :: step][:target] if t not in seen])
        return stages

    def random_timesteps(self, seed: int, image: int, total: int = 1000) -> list[list[int]]:
        """Draw the timesteps of one image uniformly without replacement (Algorithm 1 as printed), sorted per stage.

        Raises ValueError for more trials than timesteps.
        """
        _check_trials(self.targets[-1], total)
        drawn = numpy_generator(seed, "timesteps", image).permutation(total)[: self.targets[-1]]
        bounds: Sequence[int] = (0, *self.targets)
        return [sorted(int(t) for t in drawn[a:b]) for a, b in zip(bounds, self.targets, strict=False)]

    def evaluations(self, classes: int) -> int:
        """Return the number of noise predictions per image: new timesteps times surviving classes, over all stages."""
        return sum(self._predictions(classes).values())

    def shares(self, classes: int) -> dict[int, float]:
        """Return the share of an image's noise predictions that each timestep has."""
        predictions = self._predictions(classes)
        return {t: count / sum(predictions.values()) for t, count in predictions.items()}

    def _predictions(self, classes: int) -> dict[int, int]:
        candidates = (classes, *self.keep)
        stages = zip(self.timesteps(), candidates, strict=False)
        return {t: min(c, classes) for new, c in stages for t in new}
