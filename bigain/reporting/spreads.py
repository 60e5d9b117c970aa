"""The spread of a comparison of two methods, from a pilot or assumed, and the differences that images can show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bigain.metrics.power import (
    detectable_difference,
    images_for_equivalence,
    images_for_noninferiority,
    images_needed,
)
from bigain.reporting import names
from bigain.reporting.frames import CellMetric
from bigain.reporting.scores import Scores, trend_weights

PILOT, NO_PILOT = "pilot", "no pilot"
POINTS = 100  # per unit of accuracy


class Spread(NamedTuple):
    """Spread of a comparison: the `discordance` of differences up to `bound`, or the smallest difference in
    distances that `images` can show, `detectable`. `source` says where the number comes from."""

    source: str
    discordance: float | None = None
    bound: float = 1
    detectable: float | None = None
    images: int | None = None

    def shown_by(self, images: int) -> float | None:
        """Return the smallest difference that a number of images shows, in points or units of distance."""
        if self.discordance is not None:
            return POINTS * self.bound * detectable_difference(self.discordance, images)
        if self.detectable is None or self.images is None:
            return None
        return self.detectable * math.sqrt(self.images / images)

    def images_to_show(self, difference: float, claimed: str) -> int | None:
        """Return how many images show a difference or, for claims of closeness and stability, that it is smaller.

        A failure is a loss beyond the margin: that many images show it if the loss is twice the margin.
        """
        if self.discordance is not None:
            share = difference / POINTS / self.bound
            if claimed == "close":
                return images_for_equivalence(self.discordance, share)
            if claimed == "stable":
                return images_for_noninferiority(self.discordance, share)
            discordance = max(self.discordance, min(1.0, 2 * share)) if claimed == "fails" else self.discordance
            return images_needed(discordance, share)
        if self.detectable is None or self.images is None:
            return None
        return math.ceil(self.images * (self.detectable / difference) ** 2)


def stated(ours: Sequence[CellMetric], discordance: float) -> Spread:
    """Return the spread of a comparison at these cells' strengths whose discordance is stated.

    Leads at several strengths are taken as independent: their mean squares add up with the squared weights.
    """
    weights = np.abs(_weights(ours))
    bound = float(weights.sum())
    return Spread(f"{discordance:g}", discordance * float((weights**2).sum()) / bound**2, bound)


def in_pilot(pilot: Scores, ours: list[CellMetric], theirs: list[CellMetric]) -> Spread | None:
    """Return the spread of a comparison in a pilot, None if that lacks a cell or has too few common images."""
    cells = [*ours, *theirs]
    if not all(cell in pilot for cell in cells):
        return None
    if cells[0].metric not in names.DISTANCES:
        return _discordance(pilot, ours, theirs) if pilot.common_images(cells) > 1 else None
    try:
        lead = pilot.trend(ours, theirs) if len(ours) > 1 else pilot.improvement(ours[0], theirs[0])
    except ValueError:  # distances without pairs
        return None
    return Spread(PILOT, detectable=lead.detectable, images=lead.n)


def _weights(cells: Sequence[CellMetric]) -> np.ndarray:
    """Return the weights of the leads at these cells' strengths in a comparison."""
    strengths = [cell.strength for cell in cells if cell.strength is not None]
    return np.ones(1) if len(cells) == 1 else trend_weights(strengths)


def _discordance(pilot: Scores, ours: Sequence[CellMetric], theirs: Sequence[CellMetric]) -> Spread:
    """Return the mean squared difference of a comparison on the images that the pilot's cells share."""
    frame = pd.concat([pilot.images[cell] for cell in (*ours, *theirs)], axis=1, join="inner")
    weights = _weights(ours)
    signed = np.concatenate([weights, -weights])
    bound = float(signed[signed > 0].sum())
    squares = (frame.to_numpy() @ signed / bound) ** 2
    return Spread(PILOT, float(squares.mean()), bound, images=len(frame))
