"""Scores of a study's cells, and paired comparisons between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bigain.metrics.accuracy import Estimate
from bigain.metrics.jackknife import Blocks, over_seeds
from bigain.metrics.significance import Difference, combined_distances, common_images, is_positive, paired
from bigain.reporting import names
from bigain.reporting.collected import CellScores
from bigain.reporting.frames import CellMetric


class Scores:
    """Hits and average precisions of every image, and distances with their values by block, of a study's cells.

    Seeds of a cell are averaged: image by image, block by block, and over the distances and their intervals.
    """

    def __init__(self, cells: list[CellScores]) -> None:
        by_image: dict[CellMetric, list[pd.Series]] = {}
        distances: dict[CellMetric, list[Estimate]] = {}
        self.blocks: dict[CellMetric, dict[int, Blocks]] = {}  # by seed
        for scored in cells:
            cell, items, blocks = scored["cell"], scored["items"], scored.get("blocks")
            place = (cell["backbone"], cell["dataset"], cell["method"], cell["strength"])
            for metric in names.BY_IMAGE:
                if metric in items:
                    scores = pd.Series(items[metric], index=items["image"], dtype=float)
                    by_image.setdefault(CellMetric(metric, *place), []).append(scores)
            for metric in (*names.DISTANCES, "kid"):
                if metric in scored["metrics"]:
                    estimate, key = Estimate(**scored["metrics"][metric]), CellMetric(metric, *place)
                    distances.setdefault(key, []).append(estimate)
                    if blocks is not None:
                        left_out = np.array(blocks["left_out"][metric])
                        by_seed = self.blocks.setdefault(key, {})
                        by_seed[cell["seed"]] = Blocks(estimate.value, left_out, blocks["images"])
        self.images = {cell: pd.concat(seeds, axis=1).mean(axis=1) for cell, seeds in by_image.items()}
        self.distances = {cell: _mean_estimate(seeds) for cell, seeds in distances.items()}
        self._improvements: dict[tuple[CellMetric, CellMetric], Difference] = {}  # a report asks for many of them twice

    def __contains__(self, cell: CellMetric) -> bool:
        """Return whether the study has the cell."""
        return cell in self.images or cell in self.distances

    def cells(self, metric: str, method: str) -> list[CellMetric]:
        """Return the cells of a method that have a metric; `distance` stands for either Fréchet distance."""
        metrics = names.DISTANCES if metric == "distance" else (metric,)
        return [cell for cell in (*self.images, *self.distances) if cell.metric in metrics and cell.method == method]

    def value(self, cell: CellMetric) -> float:
        """Return a cell's number."""
        return 100 * float(self.images[cell].mean()) if cell in self.images else self.distances[cell].value

    def comparable(self, ours: CellMetric, theirs: CellMetric) -> bool:
        """Return whether the study has both cells, of the same images, or with at least two in common."""
        if ours in self.images and theirs in self.images:
            return len(self.images[ours].index.intersection(self.images[theirs].index)) >= 2
        return ours in self.distances and theirs in self.distances and not self.unpaired([ours, theirs])

    def improvement(self, ours: CellMetric, theirs: CellMetric) -> Difference:
        """Test by how much our cell is better than theirs, in points or as a smaller distance.

        Raises ValueError naming the cells if they have fewer than two images in common.
        """
        pair = (ours, theirs)
        if pair not in self._improvements:
            self._improvements[pair] = self._combined([(1.0, ours), (-1.0, theirs)])
        return self._improvements[pair]

    def is_better(self, ours: CellMetric, theirs: CellMetric) -> bool:
        """Return whether our cell is significantly better: whether the interval of `improvement` lies above 0.

        False if the cells are not comparable.
        """
        if ours.metric not in names.BY_IMAGE:
            return self.comparable(ours, theirs) and self.improvement(ours, theirs).low > 0
        if ours not in self.images or theirs not in self.images:
            return False
        differences = self._differences(ours, theirs)
        return len(differences) >= 2 and differences.sum() > 0 and is_positive(differences)

    def _differences(self, ours: CellMetric, theirs: CellMetric) -> np.ndarray:
        """Return our scores minus theirs on the images that both cells have."""
        a, b = self.images[ours], self.images[theirs]
        if a.index.equals(b.index):  # as nearly always; aligning takes longer than the test
            return a.to_numpy() - b.to_numpy()
        return (a - b).dropna().to_numpy()

    def trend(self, ours: Sequence[CellMetric], theirs: Sequence[CellMetric]) -> Difference:
        """Test by how much our lead grows from the lowest to the highest strength, by a line fitted through all.

        `ours` and `theirs` are lists of pairs, by the strengths of ours. Errors are those of `improvement`.
        """
        weights = trend_weights([cell.strength for cell in ours if cell.strength is not None])
        return self._combined([*zip(weights, ours, strict=True), *zip(-weights, theirs, strict=True)])

    def mean_improvement(self, pairs: Sequence[tuple[CellMetric, CellMetric]]) -> Difference:
        """Test the mean of several improvements over the same images, however correlated they are.

        Errors are those of `improvement`.
        """
        share = 1 / len(pairs)
        weighted = [(weight, cell) for pair in pairs for weight, cell in zip((share, -share), pair, strict=True)]
        return self._combined(weighted)

    def common_images(self, cells: Sequence[CellMetric]) -> int:
        """Count the images that classified cells share."""
        return len(set.intersection(*(set(self.images[cell].index) for cell in cells)))

    def unpaired(self, cells: Sequence[CellMetric]) -> str:
        """Return why distances have no paired comparison, or an empty string."""
        try:
            common_images([self._blocks(cell, cells) for cell in cells])
        except ValueError as error:
            return str(error)
        return ""

    def _combined(self, weighted: list[tuple[float, CellMetric]]) -> Difference:
        """Test a sum of cells' scores with weights that add up to 0, image by image or block by block."""
        cells = [cell for _, cell in weighted]
        try:
            if cells[0].metric in names.BY_IMAGE:
                frame = pd.concat([self.images[cell] for cell in cells], axis=1, join="inner")
                weights = np.array([weight for weight, _ in weighted])
                return paired(frame.to_numpy() @ weights, bound=weights[weights > 0].sum())
            sign = -1 if names.METRICS[cells[0].metric].better == "lower" else 1
            return combined_distances([(sign * weight, self._blocks(cell, cells)) for weight, cell in weighted])
        except ValueError as error:
            raise ValueError(f"{'; '.join(map(str, cells))}: {error}") from error

    def _blocks(self, cell: CellMetric, cells: Sequence[CellMetric]) -> Blocks:
        """Return a cell's mean over the seeds that all cells have."""
        seeds = set.intersection(*(set(self.blocks.get(cell, {})) for cell in cells))
        if not seeds:
            raise ValueError("no seed for which all have distances without each block of images")
        return over_seeds([self.blocks[cell][seed] for seed in sorted(seeds)])


def trend_weights(strengths: Sequence[float]) -> np.ndarray:
    """Return the weights of values at these strengths that sum to how much their least-squares line rises."""
    offsets = np.array(strengths, dtype=float) - np.mean(strengths)
    return offsets / (offsets**2).sum() * np.ptp(strengths)


def _mean_estimate(seeds: list[Estimate]) -> Estimate:
    value, low, high = np.mean([[seed.value, seed.low, seed.high] for seed in seeds], axis=0)
    return Estimate(float(value), float(low), float(high), seeds[0].n)
