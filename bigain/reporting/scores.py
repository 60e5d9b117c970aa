"""Scores of a study's cells, and paired comparisons between them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bigain.metrics.accuracy import Estimate
from bigain.metrics.significance import DifferenceTest, bootstrap_p, interval_difference, paired_difference, sign_test
from bigain.reporting import names
from bigain.reporting.collected import CellScores
from bigain.reporting.frames import CellMetric


class Scores:
    """Hits and average precisions of every image, and Fréchet distances, of a study's cells.

    Seeds of a cell are averaged: image by image, and over the distances and their intervals.
    """

    def __init__(self, cells: list[CellScores]) -> None:
        by_image: dict[CellMetric, list[pd.Series]] = {}
        distances: dict[CellMetric, list[Estimate]] = {}
        for scored in cells:
            cell, items = scored["cell"], scored["items"]
            place = (cell["backbone"], cell["dataset"], cell["method"], cell["strength"])
            for metric in ("acc@1", "map"):
                if metric in items:
                    scores = pd.Series(items[metric], index=items["image"], dtype=float)
                    by_image.setdefault(CellMetric(metric, *place), []).append(scores)
            for metric in names.DISTANCES:
                if metric in scored["metrics"]:
                    estimate = Estimate(**scored["metrics"][metric])
                    distances.setdefault(CellMetric(metric, *place), []).append(estimate)
        self.images = {cell: pd.concat(seeds, axis=1).mean(axis=1) for cell, seeds in by_image.items()}
        self.distances = {cell: _mean_estimate(seeds) for cell, seeds in distances.items()}

    def __contains__(self, cell: CellMetric) -> bool:
        """Return whether the study has the cell."""
        return cell in self.images or cell in self.distances

    def cells(self, metric: str, method: str) -> list[CellMetric]:
        """Return the cells of a method that have a metric; `distance` stands for either Fréchet distance."""
        metrics = names.DISTANCES if metric == "distance" else (metric,)
        return [cell for cell in (*self.images, *self.distances) if cell.metric in metrics and cell.method == method]

    def improvement(self, ours: CellMetric, theirs: CellMetric) -> DifferenceTest:
        """Test by how much our cell is better than theirs, in points or as a smaller distance."""
        if ours.metric in names.DISTANCES:
            return interval_difference(self.distances[theirs], self.distances[ours])
        a, b = self.images[ours].align(self.images[theirs], join="inner")
        difference = (a - b).to_numpy()
        p = sign_test(difference) if ours.metric == "acc@1" else bootstrap_p(difference, seed=0)
        return DifferenceTest(paired_difference(a.to_numpy(), b.to_numpy(), seed=0), p)

    def growth(self, ours: CellMetric, theirs: CellMetric, strength: float) -> DifferenceTest:
        """Test by how much the improvement is larger at a higher strength than at the cells' own, image by image."""
        cells = (ours, theirs, ours._replace(strength=strength), theirs._replace(strength=strength))
        at_low_ours, at_low_theirs, at_high_ours, at_high_theirs = (
            pd.concat([self.images[cell] for cell in cells], axis=1, join="inner").to_numpy().T
        )
        high, low = at_high_ours - at_high_theirs, at_low_ours - at_low_theirs
        return DifferenceTest(paired_difference(high, low, seed=0), bootstrap_p(high - low, seed=0))


def _mean_estimate(seeds: list[Estimate]) -> Estimate:
    value, low, high = np.mean([[seed.value, seed.low, seed.high] for seed in seeds], axis=0)
    return Estimate(float(value), float(low), float(high), seeds[0].n)
