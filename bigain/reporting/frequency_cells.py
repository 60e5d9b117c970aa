"""Cells that differ only in the rule that picks destinations, or only in alpha."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bigain.methods.ids import method_of
from bigain.methods.method import ByTask, Family
from bigain.metrics.significance import Difference, holm
from bigain.reporting.evidence import Evidence, weigh
from bigain.reporting.frames import CellMetric
from bigain.reporting.study_numbers import StudyNumbers

LOWEST = "bigain_tm"
RULES = {  # by method, in print
    LOWEST: "lowest score",
    "bigain_tm~destinations-cell_argmax": "highest score",
    "bigain_tm_shuffled": "lowest shuffled score",
    "tome_shared": "random, shared by classes",
    "tome": "random",
    "tome_fixed": "top left",
}
# The leads that decide: over the opposite score, and over two rules that ignore what a token holds.
CONTROLS = ("bigain_tm~destinations-cell_argmax", "bigain_tm_shuffled", "tome_shared")


@dataclass(frozen=True)
class Change:
    """By how much a cell's accuracy exceeds a reference's; `margin` is that of equivalence, or None."""

    cell: CellMetric
    difference: Difference
    margin: float | None = None

    @property
    def evidence(self) -> Evidence:
        """The evidence that the difference is above zero."""
        return weigh("better", self.difference, self.margin)

    @property
    def p(self) -> float:
        """The one-sided p-value of a difference of zero or less, as for a claim."""
        return self.evidence.supports


@dataclass(frozen=True)
class Destinations:
    """Merging at one ratio by several rules: Acc@1 of each, and the leads of the lowest score over the others.

    `margin` is that of equivalence in points, None if the claims file has none.
    """

    cell: CellMetric  # of the lowest score
    accuracies: dict[str, float]
    leads: dict[str, Change]
    margin: float | None


@dataclass(frozen=True)
class AlphaSweep:
    """BiGain_TD at one factor: Acc@1 by alpha, and changes from alpha = 1, which mixes in no average."""

    cell: CellMetric  # of alpha = 1
    accuracies: dict[float, float]
    changes: dict[float, Change]

    @property
    def p(self) -> dict[float, float]:
        """The two-sided p-values of the changes, since no direction is claimed, after Holm's correction."""
        return dict(zip(self.changes, holm([change.difference.p for change in self.changes.values()]), strict=True))


def destinations(study: StudyNumbers, margin: float | None) -> list[Destinations]:
    """Return every ratio at which the lowest score and another rule were run on the same images.

    Leads smaller than the margin, in points, do not matter.
    """
    compared = []
    for cell in study.cells("acc@1", LOWEST):
        others = [cell._replace(method=method) for method in RULES if method != LOWEST]
        leads = _changes(study, [(cell, other) for other in others], margin)
        if leads:
            accuracies = _accuracies(study, [cell, *(other for _, other in leads)])
            by_rule = {other.method: lead for (_, other), lead in leads.items()}
            compared.append(Destinations(cell, {c.method: value for c, value in accuracies.items()}, by_rule, margin))
    return compared


def alpha_sweeps(study: StudyNumbers) -> list[AlphaSweep]:
    """Return every factor at which alpha = 1 and another alpha were run on the same images."""
    sweeps = []
    for cell in study.cells("acc@1", "todo"):
        by_alpha = dict(_with_alpha(study, cell))
        changes = _changes(study, [(other, cell) for other in by_alpha.values() if other != cell])
        if changes:
            alphas = {other: alpha for alpha, other in sorted(by_alpha.items())}
            accuracies = _accuracies(study, [c for c in alphas if c == cell or (c, cell) in changes])
            of_alpha = {alphas[other]: change for (other, _), change in changes.items()}
            sweeps.append(AlphaSweep(cell, {alphas[c]: value for c, value in accuracies.items()}, of_alpha))
    return sweeps


def alpha_of(method_id: str, family: Family) -> float | None:
    """Return the alpha of a method that differs from BiGain_TD only in it; None for others, and if it depends on t."""
    if method_id in ("avg_pool", "todo"):
        return {"avg_pool": 0.0, "todo": 1.0}[method_id]
    preset, *changes = method_id.split("~")
    if preset != "bigain_td" or not all(change.startswith("alpha-") for change in changes):
        return None
    alpha = method_of(method_id).options["alpha"]
    if isinstance(alpha, ByTask):
        alpha = alpha.resolve(family, "classification")
    return alpha if isinstance(alpha, float) else None


def _with_alpha(study: StudyNumbers, at: CellMetric) -> Iterator[tuple[float, CellMetric]]:
    """Yield the classified cells of a place and factor that have an alpha, with it."""
    families: Mapping[str, str] = study.families
    for cell in study.scores.images:
        alpha = alpha_of(cell.method, families[cell.backbone])  # type: ignore[arg-type]
        if alpha is not None and cell == at._replace(method=cell.method):
            yield alpha, cell


def _changes(
    study: StudyNumbers, pairs: list[tuple[CellMetric, CellMetric]], margin: float | None = None
) -> dict[tuple[CellMetric, CellMetric], Change]:
    """Return the difference of each pair (ours, theirs) that the study has and that can be tested."""
    measured = {pair: study.improvement(*pair).readings for pair in pairs if all(cell in study for cell in pair)}
    return {pair: Change(pair[0], readings[0], margin) for pair, readings in measured.items() if readings}


def _accuracies(study: StudyNumbers, cells: list[CellMetric]) -> dict[CellMetric, float]:
    """Return the accuracies of cells in percent."""
    return {cell: 100 * float(study.scores.images[cell].mean()) for cell in cells}
