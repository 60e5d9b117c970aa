"""The diffusion classifier's staged timestep schedule (Table 10; timestep grid of the released protocol). No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from bigain.core.rng import numpy_generator


def midpoints(count: int, total: int = 1000) -> list[int]:
    """The released grid of `count` timesteps: the middles of equal parts of `total`."""
    step = total // count
    return [step // 2 + i * step for i in range(count)]


@dataclass(frozen=True)
class Stages:
    """Cumulative trial targets and survivors after each stage, e.g. [5, 20] and [5, 1].

    Raises ValueError unless targets rise and each divides the last, survivors fall to one, and both are equally long.
    """

    targets: tuple[int, ...]
    keep: tuple[int, ...]

    def __post_init__(self) -> None:
        targets, keep = self.targets, self.keep
        rising = all(a < b for a, b in pairwise(targets))
        falling = all(a > b for a, b in pairwise(keep))
        if not targets or len(targets) != len(keep) or not rising or not falling or keep[-1] != 1 or targets[0] < 1:
            raise ValueError(
                f"stages {list(targets)} keep {list(keep)}: as many rising trial targets as falling survivor counts "
                "that end with 1 are needed, as in [5, 20] keep [5, 1]"
            )
        if any(targets[-1] % target for target in targets):
            raise ValueError(f"stages {list(targets)}: every target has to divide the last")

    @property
    def trials(self) -> int:
        """M: the timesteps at which a class that stays to the end is evaluated."""
        return self.targets[-1]

    def timesteps(self, total: int = 1000) -> list[list[int]]:
        """The new timesteps of every stage: evenly spaced subsets of one grid of M = targets[-1] midpoints.

        A stage's subset leaves out what earlier stages evaluated; where grids do not nest, the cumulative count exceeds
        the target (as released: [5, 20, 100] evaluates 5, then 20 new, then 75).
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
        """Timesteps drawn uniformly for one image (Algorithm 1 as printed), without repetition; sorted in a stage."""
        drawn = numpy_generator(seed, "timesteps", image).permutation(total)[: self.targets[-1]]
        bounds: Sequence[int] = (0, *self.targets)
        return [sorted(int(t) for t in drawn[a:b]) for a, b in zip(bounds, self.targets, strict=False)]

    def evaluations(self, classes: int) -> int:
        """Noise predictions per image: new trials times candidates, over the stages."""
        candidates = (classes, *self.keep)
        return sum(len(new) * min(c, classes) for new, c in zip(self.timesteps(), candidates, strict=False))
