"""Descent of a label tree: whole groups of classes are dropped before most of their classes are evaluated.

With many classes, the first stage costs most, because it evaluates all of them. A label tree (Hierarchical Diffusion
Classifier, Shanbhag et al., arXiv 2411.12073) groups similar classes. In the paper, a prompt stands for a group; here
the group's first classes do, since a class-conditioned model has no condition for a group. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from bigain.classifier.elimination import standard_errors
from bigain.core.plain_numbers import real_number, whole_number

Groups: TypeAlias = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Descent:
    """Descent of a label tree in the first stage of a schedule.

    At every level, from the root, the first `representatives` classes of each surviving group are evaluated at the
    timesteps of the first stage. The error of a group is that of its best representative. Either the `keep` best groups
    survive, or all groups whose error exceeds the lowest by no more than `z` standard errors. The classes of the last
    level's surviving groups are the candidates of the first stage, in which no error is computed twice.

    `levels`: the groups of each level, as `bigain.datasets.label_tree.read_levels` returns them. Unlike elimination, z
    has no factor for the share of the trials seen: even after all trials, a group's other classes are unknown.

    Raises ValueError unless each level is a partition of the classes 0 to K - 1 that refines the level before; unless
    exactly one of `keep` and `z` is set, and positive; and for less than one representative. Raises TypeError for
    values of these three that are not numbers.
    """

    levels: tuple[Groups, ...]
    keep: int | None = None
    z: float | None = None
    representatives: int = 1

    def __post_init__(self) -> None:
        if (self.keep is None) == (self.z is None):
            raise ValueError(f"descent with keep {self.keep} and z {self.z}: exactly one of them has to be set")
        keep = None if self.keep is None else whole_number("Descent.keep", self.keep)
        z = None if self.z is None else real_number("Descent.z", self.z)
        if (keep is not None and keep < 1) or whole_number("Descent.representatives", self.representatives) < 1:
            raise ValueError(
                f"descent with keep {self.keep}, representatives {self.representatives}: each has to be at least 1"
            )
        if z is not None and not 0 < z < math.inf:
            raise ValueError(f"descent at z = {self.z}: z has to be positive and finite")
        _check_levels(self.levels)

    @property
    def classes(self) -> int:
        """Return K, the number of classes."""
        return sum(map(len, self.levels[0]))

    def check(self, classes: int, trials: int) -> None:
        """Raise ValueError unless the tree has `classes` classes and, with z, the first stage at least two `trials`."""
        if self.classes != classes:
            raise ValueError(f"the label tree has {self.classes} classes, and the classifier {classes}")
        if self.z is not None and trials < 2:
            raise ValueError(f"descent at z = {self.z:g} needs at least 2 trials in the first stage; it has {trials}")

    def representatives_of(self, level: int, candidates: Collection[int]) -> list[int]:
        """Return the classes that stand for the candidates' groups of a level, rising; none if all groups stay."""
        groups = self._groups(level, candidates)
        if len(groups) <= (self.keep or 1):
            return []
        return sorted(c for group in groups for c in group[: self.representatives])

    def survivors(self, level: int, candidates: Collection[int], errors: Mapping[int, Sequence[float]]) -> list[int]:
        """Return the classes, rising, of the groups that survive a level.

        `errors` are those of all classes evaluated so far, at the same trials: at least the level's representatives.
        So the class with the lowest mean error always survives. Ties go to the lowest class.
        """
        groups = self._groups(level, candidates)
        if len(groups) <= (self.keep or 1):
            return sorted(candidates)
        means = {c: math.fsum(errors[c]) / len(errors[c]) for c in candidates if c in errors}
        best = [min((c for c in group if c in means), key=lambda c: (means[c], c)) for group in groups]
        ranked = sorted(range(len(groups)), key=lambda g: (means[best[g]], best[g]))
        if self.z is None:
            left = ranked[: self.keep]
        else:
            differences = np.array([errors[c] for c in best]) - np.array(errors[best[ranked[0]]])
            close = differences.mean(axis=1) <= self.z * standard_errors(differences)
            left = [g for g in ranked if close[g]]
        return sorted(c for g in left for c in groups[g])

    def _groups(self, level: int, candidates: Collection[int]) -> list[tuple[int, ...]]:
        """Return the groups of a level that the candidates, whole groups of the level before, consist of."""
        known = set(candidates)
        return [group for group in self.levels[level] if group[0] in known]


def _check_levels(levels: tuple[Groups, ...]) -> None:
    """Raise ValueError unless every level is a partition of the same classes that refines the level before."""
    if not levels or not levels[0]:
        raise ValueError("a label tree needs at least one level of groups")
    classes = list(range(sum(map(len, levels[0]))))
    above: Groups = (tuple(classes),)
    for depth, groups in enumerate(levels, start=1):
        if sorted(c for group in groups for c in group) != classes or not all(groups):
            raise ValueError(
                f"level {depth} of the label tree has to hold each class from 0 to {len(classes) - 1} once, in groups "
                "that are not empty"
            )
        group_above = {c: g for g, group in enumerate(above) for c in group}
        if any(len({group_above[c] for c in group}) > 1 for group in groups):
            raise ValueError(f"level {depth} of the label tree joins classes of different groups of the level above")
        above = groups
