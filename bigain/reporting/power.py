"""Power analysis of a configured study: the smallest difference that each comparison can show, the images that each
claim needs, and their cost.

A comparison's spread comes from a pilot, a finished study with the same cells: the mean squared difference of two
methods' outcomes on an image (for hits the discordance), or the standard error of a difference in distances, which
shrinks with the square root of the number of images. Without a pilot, discordances are assumed, and there is no answer
for distances.
Power is 80% at a level of 5% (bigain.metrics.power).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bigain.core.provenance import digest, read_provenance
from bigain.reporting import names
from bigain.reporting.claims import ClaimsFile
from bigain.reporting.collected import read_cells
from bigain.reporting.comparisons import Comparison, Measured, comparisons
from bigain.reporting.frames import CellMetric
from bigain.reporting.printed_claims import DISCORDANCE
from bigain.reporting.scores import Scores
from bigain.reporting.spreads import NO_PILOT, PILOT, POINTS, Spread, in_pilot, stated
from bigain.study.cells import Cell
from bigain.study.cost import StudyCost
from bigain.study.workload import Workload

MAPS = ("map", "map_released")
T = TypeVar("T", int, float)


@dataclass(frozen=True)
class Need:
    """The smallest difference that a claim's comparison can show on the study's images, and the images that it needs.

    Differences are points, or units of distance; None stands for an unknown number. `images` is the number of the cell
    that has the fewest, on which all are compared; `hours` are those of each cell, as configured, and per image.
    """

    claim: str
    comparison: Comparison
    spread: Spread
    images: int
    shows: float | None
    difference: float | None
    needed: int | None
    hours: Mapping[Cell, float]
    hours_per_image: Mapping[Cell, float]


@dataclass(frozen=True)
class Summary:
    """The needs of a claim in a metric; support everywhere needs what its most demanding comparison does."""

    claim: str
    metric: str
    needs: Sequence[Need]

    @property
    def spread(self) -> str:
        """The source of the comparisons' spreads, and the range of their discordances in a pilot."""
        source = self.needs[0].spread.source
        known = [need.spread.discordance for need in self.needs if need.spread.discordance is not None]
        if source != PILOT or not known:
            return source
        return f"{source}, {min(known):.2f} to {max(known):.2f}"

    @property
    def images(self) -> int:
        """The fewest images of a cell."""
        return min(need.images for need in self.needs)

    @property
    def shows(self) -> float | None:
        """The smallest difference that every comparison can show."""
        return _largest([need.shows for need in self.needs])

    @property
    def difference(self) -> float | None:
        """The difference to show; of distances, the smallest."""
        known = [need.difference for need in self.needs if need.difference is not None]
        return min(known) if len(known) == len(self.needs) else None

    @property
    def needed(self) -> int | None:
        """The images per cell that every comparison needs at least."""
        return _largest([need.needed for need in self.needs])

    @property
    def hours(self) -> float:
        """The hours of all cells that are compared, as configured."""
        return sum({cell: hours for need in self.needs for cell, hours in need.hours.items()}.values())

    @property
    def hours_needed(self) -> float | None:
        """The hours of all cells that are compared, with the images that the claim needs."""
        per_image = {cell: hours for need in self.needs for cell, hours in need.hours_per_image.items()}
        return None if self.needed is None else self.needed * sum(per_image.values())


def read_pilot(results: Path) -> Scores:
    """Read the cells of a finished study, or of its outcomes, beside its results.parquet. Raises ResultError, and
    ValueError for what is no file."""
    if not results.is_file():
        state = "a folder" if results.is_dir() else "missing"
        raise ValueError(f"{results} is {state}: name the results.parquet of a finished study, or of its outcomes")
    spec: Any = {"results": digest(read_provenance(results)["spec"])}
    return Scores(read_cells(results, spec))


def needs(
    study: Workload,
    file: ClaimsFile,
    pilot: Scores | None = None,
    discordances: Sequence[float] = DISCORDANCE,
    difference: float | None = None,
) -> list[Need]:
    """Return what every comparison of every claim needs to show a difference, by default the claim's margin.

    `difference` is in points, for accuracies alone. Comparisons that the pilot lacks have an entry per discordance.
    Raises ValueError for a discordance or difference that is out of range.
    """
    for value in discordances:
        if not 0 < value <= 1:
            raise ValueError(f"discordance is {value:g}; above 0, up to 1 is allowed")
    if difference is not None and not 0 < difference <= POINTS:
        raise ValueError(f"difference is {difference:g}; above 0, up to {POINTS} points are allowed")
    planned = Planned(study, pilot)
    return [
        need
        for claim in file.claims.values()
        for comparison in comparisons(claim, file, planned)
        for spread in planned.spreads(comparison, discordances)
        for need in [planned.need(claim.name, comparison, spread, difference)]
    ]


def summaries(needs: Sequence[Need]) -> list[Summary]:
    """Return the needs of every claim, by metric and by source of the spread."""
    groups: dict[tuple[str, str, str], list[Need]] = {}
    for need in needs:
        groups.setdefault((need.claim, need.comparison.cell.metric, need.spread.source), []).append(need)
    return [Summary(claim, metric, group) for (claim, metric, _), group in groups.items()]


class Planned:
    """A configured study as a source of comparisons (`comparisons.Source`), before anything is measured."""

    def __init__(self, study: Workload, pilot: Scores | None) -> None:
        self.study, self.pilot, self.costs = study, pilot, StudyCost(study)
        self.families = {name: settings["family"] for name, settings in study.config["backbones"].items()}
        self._cells = dict(self._metrics())

    def _metrics(self) -> Iterator[tuple[CellMetric, Cell]]:
        """Yield every metric of every cell that claims can be about, with one of its cells."""
        config = self.study.config
        network = config.get("feature_network", {}).get("name")
        for cell in self.study.cells:
            metrics = ("acc@1", *(MAPS if self.study.multi_label(cell.dataset) else ()))
            if cell.task == "generation":
                metrics = ("fid" if network == "inception" else "fd",)
            for metric in metrics:
                yield CellMetric(metric, cell.backbone, cell.dataset, cell.method, cell.strength), cell

    def cells(self, metric: str, method: str) -> list[CellMetric]:
        """Return the cells of a method that will have a metric; `distance` stands for either Fréchet distance."""
        metrics = names.DISTANCES if metric == "distance" else (metric,)
        return [cell for cell in self._cells if cell.metric in metrics and cell.method == method]

    def __contains__(self, cell: CellMetric) -> bool:
        """Return whether the study has the cell."""
        return cell in self._cells

    def improvement(self, ours: CellMetric, theirs: CellMetric) -> Measured:
        """Return that nothing is measured yet."""
        return Measured(reason="planned")

    def trend(self, ours: CellMetric, theirs: CellMetric, strengths: list[float]) -> Measured:
        """Return that nothing is measured yet."""
        return Measured(reason="planned")

    def uncompressed(self, cell: CellMetric) -> float | None:
        """Return the pilot's distance of the uncompressed model beside a cell's."""
        none = cell._replace(method="none", strength=None)
        known = self.pilot is not None and none in self.pilot.distances
        return self.pilot.distances[none].value if self.pilot is not None and known else None

    def spreads(self, comparison: Comparison, discordances: Sequence[float]) -> list[Spread]:
        """Return the spread of a comparison in the pilot, or else one for each stated discordance."""
        ours, theirs = compared_cells(comparison)
        if self.pilot is not None and (known := in_pilot(self.pilot, ours, theirs)):
            return [known]
        if comparison.cell.metric in names.DISTANCES:
            return [Spread(NO_PILOT)]
        return [stated(ours, value) for value in discordances]

    def need(self, claim: str, comparison: Comparison, spread: Spread, difference: float | None) -> Need:
        """Return what a comparison of this spread shows and needs."""
        is_distance = comparison.cell.metric in names.DISTANCES
        sought = comparison.margin if is_distance or difference is None else difference
        ours, theirs = compared_cells(comparison)
        cells = [self._cells[cell] for cell in (*ours, *theirs)]
        counts = {self.study.images(cell) for cell in cells}
        images = min(counts)
        is_comparable = not is_distance or len(counts) == 1  # distances have no pairs otherwise
        seeds = len(self.study.config["seeds"])
        hours = {cell: seeds * self.costs.cost(cell).hours for cell in cells}
        return Need(
            claim=claim,
            comparison=comparison,
            spread=spread,
            images=images,
            shows=spread.shown_by(images) if is_comparable else None,
            difference=sought,
            needed=None if sought is None else spread.images_to_show(sought, comparison.claimed),
            hours=hours,
            hours_per_image={cell: hours[cell] / self.study.images(cell) for cell in cells},
        )


def compared_cells(comparison: Comparison) -> tuple[list[CellMetric], list[CellMetric]]:
    """Return the cells of both methods of a comparison: one each, or one for every strength of a trend."""
    if len(comparison.strengths) == 1:
        return [comparison.cell], [comparison.than]
    both = ([cell._replace(strength=s) for s in comparison.strengths] for cell in (comparison.cell, comparison.than))
    ours, theirs = both
    return ours, theirs


def _largest(values: Sequence[T | None]) -> T | None:
    """Return the largest of values that are all known, else None."""
    known = [value for value in values if value is not None]
    return max(known) if len(known) == len(values) else None
