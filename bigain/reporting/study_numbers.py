"""A study's cells as a source of numbers for claims: paired differences on the images that two cells share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bigain.metrics.significance import Difference
from bigain.reporting import names
from bigain.reporting.collected import CellScores
from bigain.reporting.comparisons import Measured
from bigain.reporting.frames import CellMetric
from bigain.reporting.scores import Scores

FEWEST = 5  # images; with four, even if all favour one method, the one-sided p-value 2^-4 of a sign test is above 5%


class StudyNumbers:
    """The cells of a study, whose backbones are of these families."""

    def __init__(self, cells: list[CellScores], families: Mapping[str, str]) -> None:
        self.families = families
        self.scores = Scores(cells)
        self.left_out = _left_out(cells)

    def cells(self, metric: str, method: str) -> list[CellMetric]:
        """Return the cells of a method that have a metric, or left it out."""
        metrics = names.DISTANCES if metric == "distance" else (metric,)
        without = [cell for cell in self.left_out if cell.metric in metrics and cell.method == method]
        return list(dict.fromkeys([*self.scores.cells(metric, method), *without]))

    def __contains__(self, cell: CellMetric) -> bool:
        """Return whether the study ran the cell."""
        return cell in self.scores or cell in self.left_out

    def improvement(self, ours: CellMetric, theirs: CellMetric) -> Measured:
        """Return by how much our cell is better than theirs, or why that cannot be tested."""
        if reason := self._obstacle([ours, theirs]):
            return Measured(reason=reason)
        return Measured((self.scores.improvement(ours, theirs),))

    def trend(self, ours: CellMetric, theirs: CellMetric, strengths: list[float]) -> Measured:
        """Return by how much the improvement grows with the strength, or why that cannot be tested."""
        of, than = ([cell._replace(strength=strength) for strength in strengths] for cell in (ours, theirs))
        if reason := self._obstacle([*of, *than]):
            return Measured(reason=reason)
        return Measured((self.scores.trend(of, than),))

    def mean_improvement(self, pairs: Sequence[tuple[CellMetric, CellMetric]]) -> Difference | None:
        """Return the mean of several improvements, or None if their cells do not share enough images."""
        if self._obstacle([cell for pair in pairs for cell in pair]):
            return None
        return self.scores.mean_improvement(pairs)

    def uncompressed(self, cell: CellMetric) -> float | None:
        """Return the distance of the uncompressed model beside a cell's."""
        none = cell._replace(method="none", strength=None)
        return self.scores.distances[none].value if none in self.scores.distances else None

    def _obstacle(self, cells: Sequence[CellMetric]) -> str:
        """Return why cells cannot be compared, or an empty string."""
        for cell in cells:
            if cell in self.left_out:
                return self.left_out[cell]
        if cells[0].metric not in names.BY_IMAGE:
            return self.scores.unpaired(cells)
        common = self.scores.common_images(cells)
        if common == 0:
            return "no common images"
        return f"{common} common images; at least {FEWEST} are needed" if common < FEWEST else ""


def _left_out(cells: list[CellScores]) -> dict[CellMetric, str]:
    """Return the metrics that scoring left out of a cell, with its reason."""
    reasons = {}
    for scored in cells:
        cell = scored["cell"]
        place = (cell["backbone"], cell["dataset"], cell["method"], cell["strength"])
        for metric, reason in scored.get("left_out", {}).items():
            if metric in names.METRICS:
                reasons[CellMetric(metric, *place)] = reason
    return reasons
