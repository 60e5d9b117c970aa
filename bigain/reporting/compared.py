"""A new method beside the stored outcomes of a study, at its budget of operations: paired tests, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bigain.core.provenance import checked, digest, read_sealed
from bigain.core.records import summary
from bigain.core.rounding import rounded
from bigain.methods.ids import method_of
from bigain.metrics.significance import Difference, holm
from bigain.reporting import names
from bigain.reporting.collected import CellScores, read_cells
from bigain.reporting.frames import Arm, CellMetric, optional, records
from bigain.reporting.leaderboard import RIVAL, WIDEST
from bigain.reporting.numbers import Value
from bigain.reporting.scores import Scores


@dataclass(frozen=True)
class Opponent:
    """A stored cell, its score, and by how much the new method is better, with the p-value that Holm's method adjusts
    for all opponents."""

    arm: Arm
    score: float
    lead: Difference
    adjusted: float
    is_best: bool


@dataclass(frozen=True)
class Comparison:
    """A new cell and its opponents in one metric: the uncompressed model first, then the best first."""

    cell: CellMetric
    score: float
    opponents: list[Opponent]


class Stored:
    """The cells and measurements of a folder of outcomes."""

    def __init__(self, folder: Path) -> None:
        results = folder / "results.parquet"
        spec: Any = {"results": digest(checked(results)["spec"])}
        self.cells: list[CellScores] = read_cells(results, spec)
        self._saved: dict[str, dict[Arm, float | None]] = {}
        for file in sorted((folder / "efficiency").glob("*.csv")):
            checked(file)
            self._saved[file.stem] = saved_by(pd.read_csv(file))

    def saved(self, backbone: str) -> dict[Arm, float | None]:
        """Return the percentage of operations that every measured arm saves on a backbone, None if not counted."""
        return self._saved.get(backbone, {})

    def budget(self, backbone: str) -> float:
        """Return the budget with the most compressed arms, as the percentage that ToMe, or else the middle arm, saves.

        Raises ValueError if no operations are counted.
        """
        scored = {(cell["cell"]["method"], cell["cell"]["strength"]) for cell in self.cells}
        arms = {arm: saved for arm, saved in self.saved(backbone).items() if arm in scored and arm[1] is not None}
        counted = {arm: saved for arm, saved in arms.items() if saved is not None}
        if not counted:
            raise ValueError(f"no operations are counted for compressed cells of {backbone}: name a --strength")
        crowd = Counter({arm: len(self.near(backbone, saved)) for arm, saved in counted.items()})
        middle = sorted(arm for arm in counted if crowd[arm] == max(crowd.values()))
        middle.sort(key=counted.__getitem__)
        of_rival = [arm for arm in middle if arm[0] == RIVAL]
        return counted[(of_rival or [middle[len(middle) // 2]])[0]]

    def near(self, backbone: str, saved: float | None) -> list[Arm]:
        """Return the compressed arms at a budget; arms whose operations are not counted share one."""
        return [
            arm
            for arm, other in self.saved(backbone).items()
            if arm[1] is not None
            and (other is saved if saved is None or other is None else abs(other - saved) <= WIDEST)
        ]

    def other_environments(self, new: Iterable[CellScores]) -> list[str]:
        """Return how the environments of new cells differ from the stored ones, a line for each that was not stored."""
        known = {summary(environment) for cell in self.cells for environment in cell["environments"]}
        ran = {summary(environment) for cell in new for environment in cell["environments"]}
        return [f"{name}; stored: {' and '.join(sorted(known))}" for name in sorted(ran - known)]


def saved_by(measured: pd.DataFrame) -> dict[Arm, float | None]:
    """Return the percentage of operations saved by every measured arm."""
    return {(row["method"], optional(row["strength"])): optional(row["saved_percent"]) for row in records(measured)}


def read_new(files: list[Path]) -> list[CellScores]:
    """Read the metrics files of new cells."""
    return [read_sealed(file) for file in files]


def compare(stored: Stored, new: list[CellScores], method: str, saved: dict[str, float | None]) -> list[Comparison]:
    """Return the comparisons of a method's new cells; `saved` is the percentage of operations they save, by backbone.

    A stored cell of the same method and strength is left out. All numbers are for the images of the new cells.
    """
    images = {_place(cell): set(cell["items"]["image"]) for cell in new if "image" in cell["items"]}
    computed = {_arm(cell) for cell in new}
    others = [cell for cell in stored.cells if _arm(cell) not in computed]
    scores = Scores([*new, *(_among(cell, images.get(_place(cell))) for cell in others)])
    comparisons = []
    for metric in (*names.BY_IMAGE[:1], *names.DISTANCES):
        task = "generation" if metric in names.DISTANCES else "classification"
        for cell in scores.cells(metric, method):
            if (task, cell.backbone, cell.dataset, method, cell.strength) not in computed:
                continue  # of the stored study, which may have the same method
            arms = dict.fromkeys([("none", None), *stored.near(cell.backbone, saved[cell.backbone])])
            theirs = [cell._replace(method=name, strength=strength) for name, strength in arms]
            pairs = [other for other in theirs if other != cell and scores.comparable(cell, other)]
            if pairs:
                comparisons.append(_comparison(scores, cell, pairs))
    return comparisons


def _comparison(scores: Scores, cell: CellMetric, others: list[CellMetric]) -> Comparison:
    leads = [scores.improvement(cell, other) for other in others]
    adjusted = holm([lead.p for lead in leads])
    sign = 1 if names.METRICS[cell.metric].better == "higher" else -1
    rivals = [other for other in others if other.strength is not None]
    best = max(rivals, key=lambda other: sign * scores.value(other), default=None)
    opponents = [
        Opponent((other.method, other.strength), scores.value(other), lead, float(p), other == best)
        for other, lead, p in zip(others, leads, adjusted, strict=True)
    ]
    opponents.sort(key=lambda opponent: (opponent.arm[1] is not None, -sign * opponent.score))
    return Comparison(cell, scores.value(cell), opponents)


def _among(cell: CellScores, images: set[int] | None) -> CellScores:
    """Return a classified cell with the outcomes of some images alone."""
    items = cell["items"]
    if images is None or "image" not in items:
        return cell
    kept = [image in images for image in items["image"]]
    return {**cell, "items": {name: [v for v, k in zip(items[name], kept, strict=True) if k] for name in items}}


def _place(cell: CellScores) -> tuple[str, str, str]:
    return cell["cell"]["task"], cell["cell"]["backbone"], cell["cell"]["dataset"]


def _arm(cell: CellScores) -> tuple[Any, ...]:
    return (*_place(cell), cell["cell"]["method"], cell["cell"]["strength"])


def lines(comparison: Comparison, saved: float | None, faster: float | None) -> list[str]:
    """Return a comparison as text: the method's row, then a row per opponent with the paired lead over it on
    the images that both have."""
    cell, metric = comparison.cell, names.METRICS[comparison.cell.metric]
    kind = method_of(cell.method).strength_kind
    costs = "operations not counted" if saved is None else f"{rounded(saved, 1)}% of operations saved"
    costs += "" if faster is None else f", {rounded(faster, 2)}x as fast in this run"
    head = f"{cell.backbone}, {cell.dataset}, {metric.label}: {method_of(cell.method).label}"
    rows = [f"{head} {names.strength(kind, cell.strength)}: {rounded(comparison.score, 1)} ({costs})"]
    rows.append(f"  {'better than':34} {'score':>7}   {'by (95% interval)':26} {'images':>7} {'p':>6} {'Holm':>6}")
    for opponent in comparison.opponents:
        name, strength = opponent.arm
        label = f"{method_of(name).label} {names.strength(method_of(name).strength_kind, strength)}".strip()
        lead = Value(opponent.lead.value, opponent.lead.low, opponent.lead.high)
        interval = " to ".join(
            rounded(end, lead.digits, signed=True) for end in (opponent.lead.low, opponent.lead.high)
        )
        by = f"{rounded(opponent.lead.value, lead.digits, signed=True)} ({interval})"
        p, adjusted = names.p_value(opponent.lead.p), names.p_value(opponent.adjusted)
        best = "  the best there" if opponent.is_best else ""
        rows.append(
            f"  {label:34} {rounded(opponent.score, 1):>7}   {by:26} {opponent.lead.n:>7,} {p:>6} {adjusted:>6}{best}"
        )
    return rows
