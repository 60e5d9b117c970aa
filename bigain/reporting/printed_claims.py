"""The paper's claims judged on its printed numbers, by the rules for a study and with the paper's number of images.

The paper prints accuracies without intervals. The precision of their paired differences follows from the number of
images and the share of discordant images, which only one of two methods gets right. That share is not printed. If the
study ran the same comparison, it is taken from there; else a range is tried, and a verdict counts if the whole range
agrees. FIDs are printed without any spread, so no verdict on them is possible.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bigain.metrics.significance import Difference, Student
from bigain.reporting import names
from bigain.reporting.collected import CellScores
from bigain.reporting.comparisons import Measured
from bigain.reporting.frames import CellMetric
from bigain.reporting.paper_values import IMAGES, printed_pair, printed_tables
from bigain.reporting.scores import trend_weights

FAMILIES = {"sd2": "unet", "dit_xl2": "dit"}  # of the paper's own backbones
# Shares of discordant images that studies with the embedded models measured, from similar methods to distant ones.
DISCORDANCE = (0.05, 0.29)
FEWEST = 200  # images of a comparison whose discordance is taken
Arm = tuple[str, float | None]  # a method at a strength
IN_PRINT = {"map_released": "map", "fid": "fid", "acc@1": "acc@1"}  # our metrics as the tables print them


class Discordance:
    """The mean squared difference of two methods' outcomes on an image: for hits, the share of discordant images."""

    def __init__(self, cells: list[CellScores], families: Mapping[str, str]) -> None:
        self._outcomes: dict[tuple[Any, ...], dict[Arm, pd.Series]] = {}
        for scored in cells:
            cell, items = scored["cell"], scored["items"]
            for metric in ("acc@1", "map_released"):
                if metric in items:
                    place = (families[cell["backbone"]], metric, cell["backbone"], cell["dataset"], cell["seed"])
                    outcomes = pd.Series(items[metric], index=items["image"], dtype=float)
                    self._outcomes.setdefault(place, {})[cell["method"], cell["strength"]] = outcomes

    def range_of(self, family: str, metric: str, ours: Arm, theirs: Arm) -> tuple[float, float]:
        """Return the range of discordance that the study measured for two methods, or else `DISCORDANCE`."""
        measured = []
        for place, arms in self._outcomes.items():
            if place[:2] == (family, metric) and ours in arms and theirs in arms:
                difference = (arms[ours] - arms[theirs]).dropna()
                if len(difference) >= FEWEST:
                    measured.append(float((difference**2).mean()))
        return (min(measured), max(measured)) if measured else DISCORDANCE


class PrintedNumbers:
    """The numbers of the paper's tables, as a source for claims."""

    def __init__(self, discordance: Discordance) -> None:
        self.families = FAMILIES
        self.discordance = discordance
        inverse = {printed: metric for metric, printed in IN_PRINT.items()}
        printed = [cell._replace(metric=inverse[cell.metric]) for cell in printed_tables() if cell.metric in inverse]
        self._cells = sorted(printed, key=_order)

    def cells(self, metric: str, method: str) -> list[CellMetric]:
        """Return the printed cells of a method that have a metric."""
        metrics = names.DISTANCES if metric == "distance" else (metric,)
        return [cell for cell in self._cells if cell.metric in metrics and cell.method == method]

    def __contains__(self, cell: CellMetric) -> bool:
        """Return whether the paper prints the cell."""
        return cell in self._cells

    def improvement(self, ours: CellMetric, theirs: CellMetric) -> Measured:
        """Return by how much our cell is better than theirs, under both ends of the range of discordance."""
        gain = self._gain(ours, theirs)
        if ours.metric in names.DISTANCES:
            return Measured(value=gain, reason="printed without spread")
        variances = self._variances(ours, theirs, gain)
        return Measured(tuple(_difference(gain, variance, IMAGES[ours.dataset]) for variance in variances))

    def trend(self, ours: CellMetric, theirs: CellMetric, strengths: list[float]) -> Measured:
        """Return by how much the improvement grows, taking those at different strengths as independent."""
        weights = trend_weights(strengths)
        pairs = [(ours._replace(strength=s), theirs._replace(strength=s)) for s in strengths]
        gains = np.array([self._gain(*pair) for pair in pairs])
        variances = np.array([self._variances(*pair, gain) for pair, gain in zip(pairs, gains, strict=True)])
        growth, count = float(weights @ gains), IMAGES[ours.dataset]
        return Measured(tuple(_difference(growth, float(variance), count) for variance in weights**2 @ variances))

    def uncompressed(self, cell: CellMetric) -> float | None:
        """Return the FID of the uncompressed model in the table that prints a cell's."""
        pair = printed_pair(_in_print(cell), _in_print(cell._replace(method="none", strength=None)))
        return None if pair is None else pair[1]

    def _gain(self, ours: CellMetric, theirs: CellMetric) -> float:
        pair = printed_pair(_in_print(ours), _in_print(theirs))
        if pair is None:
            raise ValueError(f"the paper does not print both {ours} and {theirs}")
        return pair[1] - pair[0] if ours.metric in names.DISTANCES else pair[0] - pair[1]

    def _variances(self, ours: CellMetric, theirs: CellMetric, gain: float) -> tuple[float, float]:
        """Return the variance of an image's difference, in points squared, at both ends of the range of discordance.

        The share of discordant images is at least the difference in accuracy. If the study's whole range is below that
        difference, it does not apply to the paper's models, and the range `DISCORDANCE` is tried.
        """
        arms = ((ours.method, ours.strength), (theirs.method, theirs.strength))
        low, high = self.discordance.range_of(FAMILIES[ours.backbone], ours.metric, *arms)
        mean = gain / 100
        if high < abs(mean):
            low, high = DISCORDANCE
        return 100**2 * (max(low, abs(mean)) - mean**2), 100**2 * (max(high, abs(mean)) - mean**2)


def _order(cell: CellMetric) -> tuple[float, ...]:
    return (list(FAMILIES).index(cell.backbone), list(IMAGES).index(cell.dataset), cell.strength or 0)


def _difference(value: float, variance: float, count: int) -> Difference:
    return Student(value, math.sqrt(variance / count), count - 1).difference(count)


def _in_print(cell: CellMetric) -> CellMetric:
    return cell._replace(metric=IN_PRINT[cell.metric])
