"""The table to beat: every method beside those that cost the same, in counted operations and in measured seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bigain.core.columns import csv_text
from bigain.core.report_specs import ReportSpec
from bigain.core.rounding import rounded
from bigain.methods.ids import method_of
from bigain.methods.properties import properties_of
from bigain.reporting import names
from bigain.reporting.bias import bias_note
from bigain.reporting.frames import CellMetric, by_arm, groups, optional, records
from bigain.reporting.numbers import Value
from bigain.reporting.rendering import write_table
from bigain.reporting.scores import Scores
from bigain.reporting.tables import arm_columns, change, environments, over_seeds

RIVAL = "tome"
WIDEST = 1.5  # percentage points of operations between the cheapest and most expensive method of a budget
STEP = 10  # percent of the uncompressed model's seconds per budget of seconds
UNCOUNTED = "operations not counted"
PROPERTIES = {  # of methods: their columns in the CSV file, and their headings
    "deterministic": "deterministic",
    "timestep_local": "timestep-local",
    "alike_for_all_classes": "same for all classes",
    "needs_attention_maps": "needs attention maps",
}


@dataclass(frozen=True)
class Entry:
    """A method at a strength on a backbone and data set: what it costs, and its scores.

    `saved` is in percent of the uncompressed model's operations, None where they depend on the image; `seconds` are
    those of one noise prediction, and `time_saved` in percent of the uncompressed model's. `over` holds the paired
    differences in recognition from the uncompressed model (`none`), from ToMe (`tome`) and from the most accurate
    method (`best`) at the same budget; `distance_over` those in distance from the uncompressed model and ToMe.
    """

    backbone: str
    dataset: str
    method: str
    strength: float | None
    gflops: float | None
    saved: float | None
    seconds: float | None
    time_saved: float | None
    accuracy: Value
    distance: Value
    budget: str = ""
    over: dict[str, Value] | None = None
    distance_over: dict[str, Value] | None = None

    @property
    def label(self) -> str:
        """The method's name in print."""
        return method_of(self.method).label

    @property
    def strength_label(self) -> str:
        """The strength, for print."""
        return names.strength(method_of(self.method).strength_kind, self.strength)

    @property
    def properties(self) -> dict[str, bool]:
        """The method's properties, by the columns of PROPERTIES."""
        known = properties_of(method_of(self.method))
        return {name: getattr(known, name) for name in PROPERTIES}

    @property
    def seconds_budget(self) -> str:
        """The budget of seconds: the percentage of time saved, in steps of ten."""
        if self.time_saved is None:
            return ""
        if self.time_saved < 0:
            return "slower than the uncompressed model"
        step = int(self.time_saved // STEP) * STEP
        return f"{step} to {step + STEP}% less time"


@dataclass(frozen=True)
class Leaderboard:
    """The entries of one backbone and data set: `entries` by budget of operations, cheapest last, best first in each.

    `metric` is the metric of recognition, `distance` that of generation; empty if nothing was generated.
    """

    backbone: str
    dataset: str
    metric: str
    distance: str
    entries: list[Entry]

    def by_budget(self) -> list[tuple[str, list[Entry]]]:
        """Return the entries of every budget of operations."""
        return _by(self.entries, lambda entry: entry.budget)

    def by_seconds(self) -> list[tuple[str, list[Entry]]]:
        """Return the timed entries of every budget of seconds, slowest budget first, the best first in each."""
        timed = sorted((e for e in self.entries if e.time_saved is not None and e.method != "none"), key=_time_budget)
        return [(budget, _ranked(entries)) for budget, entries in _by(timed, lambda entry: entry.seconds_budget)]


def build(results: pd.DataFrame, measured: pd.DataFrame) -> list[Leaderboard]:
    """Return the leaderboard of every backbone and data set with an uncompressed cell, averaged over seeds.

    Differences are left to `with_differences`.
    """
    boards = []
    for (backbone, dataset), cells in groups(results, ["backbone", "dataset"]):
        shown = set(cells["metric"])
        metric = next((name for name in names.BY_IMAGE if name in shown), "")
        distance = next((name for name in names.DISTANCES if name in shown), "")
        arms = measured[measured["backbone"] == backbone]
        entries = list(_entries(backbone, dataset, cells, arms, metric, distance))
        if any(entry.method == "none" for entry in entries):
            ranked = [entry for budget in _budgets(entries) for entry in _ranked(budget)]
            boards.append(Leaderboard(backbone, dataset, metric, distance, ranked))
    return boards


def _entries(
    backbone: str, dataset: str, cells: pd.DataFrame, arms: pd.DataFrame, metric: str, distance: str
) -> Iterator[Entry]:
    """Yield an entry per method and strength, with its scores and costs alone."""
    costs = {(row["method"], optional(row["strength"])): row for row in records(arms)}
    for (method, strength), scored in by_arm(cells).items():
        cost = costs.get((method, strength), {})
        seconds, speedup = optional(cost.get("seconds")), optional(cost.get("speedup"))
        yield Entry(
            backbone,
            dataset,
            method,
            strength,
            gflops=optional(cost.get("gflops")),
            saved=optional(cost.get("saved_percent")),
            seconds=None if seconds is None else seconds / cost["batch"],
            time_saved=None if speedup is None else 100 * (1 - 1 / speedup),
            accuracy=over_seeds(scored[scored["metric"] == metric]),
            distance=over_seeds(scored[scored["metric"] == distance]),
        )


def _budgets(entries: list[Entry]) -> list[list[Entry]]:
    """Return the entries by budget of operations: the uncompressed model and its variants, then most expensive first.

    A budget ends where the next entry saves more than WIDEST points above the first one's. Entries whose operations
    are not counted come last.
    """
    full = [replace(entry, budget="uncompressed") for entry in entries if entry.strength is None]
    counted = sorted((e for e in entries if e.strength is not None and e.saved is not None), key=_saved)
    rest = [replace(e, budget=UNCOUNTED) for e in entries if e.strength is not None and e.saved is None]
    parts: list[list[Entry]] = []
    for entry in counted:
        if parts and _saved(entry) - _saved(parts[-1][0]) <= WIDEST:
            parts[-1].append(entry)
        else:
            parts.append([entry])
    named = [[replace(entry, budget=_span(part)) for entry in part] for part in parts]
    return [part for part in (full, *named, rest) if part]


def _span(part: list[Entry]) -> str:
    low, high = (rounded(_saved(entry), 1) for entry in (part[0], part[-1]))
    return f"{low} to {high}% of operations saved" if low != high else f"{low}% of operations saved"


def with_differences(board: Leaderboard, scores: Scores) -> Leaderboard:
    """Return a leaderboard whose entries have their paired differences."""
    parts = [_compared(board, part, scores) for _, part in board.by_budget()]
    return replace(board, entries=[entry for part in parts for entry in part])


def _compared(board: Leaderboard, ranked: list[Entry], scores: Scores) -> list[Entry]:
    """Return a budget's entries, best first, with their paired differences."""
    rival = next((entry for entry in ranked if entry.method == RIVAL), None)
    best = ranked[0] if ranked[0].accuracy.value is not None else None

    def differences(entry: Entry, metric: str, others: dict[str, Entry | None]) -> dict[str, Value]:
        change = {"none": change_from_uncompressed(scores, metric, entry)}
        return change | {name: _difference(scores, metric, entry, other) for name, other in others.items()}

    return [
        replace(
            entry,
            over=differences(entry, board.metric, {"tome": rival, "best": best}),
            distance_over=differences(entry, board.distance, {"tome": rival}),
        )
        for entry in ranked
    ]


def change_from_uncompressed(scores: Scores, metric: str, entry: Entry) -> Value:
    """Return an entry's number minus the uncompressed model's with its paired interval, if they can be compared."""
    return _difference(scores, metric, entry, replace(entry, method="none", strength=None))


def _difference(scores: Scores, metric: str, entry: Entry, other: Entry | None) -> Value:
    """Return an entry's number minus another's with its paired interval; none for the same or incomparable cells."""
    if other is None:
        return Value(None)
    ours, theirs = (CellMetric(metric, e.backbone, e.dataset, e.method, e.strength) for e in (entry, other))
    if ours == theirs or not scores.comparable(ours, theirs):
        return Value(None)
    return Value(*change(scores, ours, theirs))


def _ranked(entries: Sequence[Entry]) -> list[Entry]:
    """Return entries by accuracy, highest first; those without accuracy come last, by distance."""
    return sorted(entries, key=_rank)


def _rank(entry: Entry) -> tuple[float, float]:
    accuracy, distance = entry.accuracy.value, entry.distance.value
    return (float("inf") if accuracy is None else -accuracy, float("inf") if distance is None else distance)


def _saved(entry: Entry) -> float:
    assert entry.saved is not None
    return entry.saved


def _time_budget(entry: Entry) -> float:
    assert entry.time_saved is not None
    return max(entry.time_saved // STEP, -1)


def _by(entries: list[Entry], key: Callable[[Entry], str]) -> list[tuple[str, list[Entry]]]:
    parts: dict[str, list[Entry]] = {}
    for entry in entries:
        parts.setdefault(key(entry), []).append(entry)
    return list(parts.items())


def write_leaderboard(
    results: pd.DataFrame,
    scores: Scores,
    measured: pd.DataFrame,
    spec: ReportSpec,
    tex: Path,
    csv: Path,
    html: Path,
) -> None:
    """Write the leaderboards in three formats."""
    boards = [with_differences(board, scores) for board in build(results, measured)]
    context = {
        "boards": boards,
        "spec": spec,
        "metrics": names.METRICS,
        "properties": list(PROPERTIES.values()),
        "rival": method_of(RIVAL).label,
        "environments": environments(results),
        "device": measured["device"].iloc[0],
        "batch": int(measured["batch"].iloc[0]),
        "bias": {
            (board.backbone, board.dataset): bias_note(
                results[(results["backbone"] == board.backbone) & (results["dataset"] == board.dataset)]
            )
            for board in boards
        },
    }
    rows = (_csv_row(board, entry) for board in boards for entry in board.entries)
    write_table("leaderboard", context, csv_text("leaderboard", rows), tex, csv, html)


def _csv_row(board: Leaderboard, entry: Entry) -> dict[str, Any]:
    """Return an entry as a line of the CSV file."""
    row: dict[str, Any] = {"backbone": entry.backbone, "dataset": entry.dataset, "budget": entry.budget}
    row |= arm_columns(entry.method, entry.strength)
    row |= {"gflops": entry.gflops, "saved_percent": entry.saved}
    row |= {"seconds_per_prediction": entry.seconds, "time_saved_percent": entry.time_saved}
    row |= {"metric": board.metric, "distance": board.distance}
    scores = [("score", entry.accuracy), ("distance_value", entry.distance)]
    scores += [(f"score_minus_{name}", value) for name, value in (entry.over or {}).items()]
    scores += [(f"distance_minus_{name}", value) for name, value in (entry.distance_over or {}).items()]
    for name, value in scores:
        row |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
    return row | entry.properties
