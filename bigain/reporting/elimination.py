"""Noise predictions against Acc@1: the fixed stages of Table 10, elimination of classes, and both after a label tree.

All schedules are replayed on runs that store every class at every trial. Since there are many, judging the best of them
on the images it was chosen on would flatter it. So each kind's cheapest schedule within 0.3 points of the full
evaluation is chosen on the first half of the images and judged on the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bigain.classifier.descent import Descent, Groups
from bigain.classifier.elimination import Elimination
from bigain.classifier.timesteps import Stages
from bigain.core.files import write_text
from bigain.core.records import embedded_spec
from bigain.core.validation import TRIALS, read_columns
from bigain.datasets import load as load_dataset
from bigain.datasets.label_tree import read_levels
from bigain.metrics.replay import Outcome, by_elimination, by_stages, full_errors, hits, in_full
from bigain.metrics.significance import paired
from bigain.reporting import style

ZS = (6.0, 5.0, 4.0, 3.5, 3.0, 2.5, 2.25, 2.0, 1.75, 1.5, 1.25, 1.0, 0.75)  # most cautious first
EVERY = (2, 4, 5)
REPRESENTATIVES = (2, 1)  # of a group of a label tree
GROUPS_KEPT: tuple[dict[str, Any], ...] = ({"z": 3.0}, {"z": 2.0}, {"z": 1.0}, {"keep": 2}, {"keep": 1})
TOLERANCE = 0.3  # points of Acc@1
KINDS = {
    "stages": "fixed stages",
    "elimination": "elimination",
    "tree_stages": "label tree, fixed stages",
    "tree_elimination": "label tree, elimination",
}
COLOURS = {"stages": "#000000", "elimination": "#0072B2", "tree_stages": "#E69F00", "tree_elimination": "#CC79A7"}


@dataclass(frozen=True)
class Schedule:
    """A schedule replayed on a run: its kind and name, what it decided and cost, and which images it got right."""

    kind: str
    name: str
    outcome: Outcome
    hits: np.ndarray

    def accuracy(self, images: slice) -> float:
        """Return Acc@1 on some of the images, from 0 to 1."""
        return float(self.hits[images].mean())

    def predictions(self, images: slice) -> float:
        """Return the mean number of noise predictions per image, on some of the images."""
        return float(self.outcome.predictions[images].mean())

    def row(self, full: Schedule) -> dict[str, str | float]:
        """Return the schedule's row of the table; the difference is from the full evaluation."""
        difference = paired(self.hits.astype(float) - full.hits)
        return {
            "kind": self.kind,
            "schedule": self.name,
            "predictions": self.outcome.predictions.mean(),
            "accuracy": 100 * self.hits.mean(),
            "difference": difference.value,
            "low": difference.low,
            "high": difference.high,
            "images": len(self.hits),
        }


def write_elimination(runs: list[Path], csv: Path, pdf: Path, png: Path, tree: Path | None = None) -> None:
    """Write a row for every run and schedule, and a panel per run; `tree`, a label tree's file, adds its schedules.

    Raises ValueError naming a run that has stages, or whose classes are not those of the tree.
    """
    frames = {}
    for run in runs:
        title = run_title(embedded_spec(run))
        try:
            frames[title] = curve(run, tree)
        except ValueError as error:
            raise ValueError(f"{run}: {error}") from error
    table = pd.concat([frame.assign(run=title) for title, frame in frames.items()], ignore_index=True)
    order = ["run", *[name for name in table.columns if name != "run"]]
    write_text(csv, table[order].to_csv(index=False, float_format="%.3f", lineterminator="\n"))
    with style.look():
        figure, axes = plt.subplots(1, len(frames), figsize=(3.6 * len(frames), 3), squeeze=False, sharey=False)
        for axis, (title, frame) in zip(axes[0], frames.items(), strict=True):
            _panel(axis, title, frame)
        axes[0, 0].set_ylabel("Acc@1 (%)")
        axes[0, -1].legend(loc="lower right", frameon=False)
        figure.tight_layout()
    style.save(figure, pdf, png)


def run_title(spec: Mapping[str, Any]) -> str:
    """Return the name of a run: its backbone, method and strength."""
    return f"{spec['backbone']['id']}, {spec['method']}" + (f" {spec['strength']:g}" if spec["strength"] else "")


def _panel(axis: plt.Axes, title: str, frame: pd.DataFrame) -> None:
    full = frame[frame["kind"] == "full"].iloc[0]
    axis.axhline(full["accuracy"], color="#999999", linewidth=0.8)
    axis.axhspan(full["accuracy"] - TOLERANCE, full["accuracy"] + TOLERANCE, color="#999999", alpha=0.25, linewidth=0)
    for number, (kind, text) in enumerate(KINDS.items()):
        part, order = frame[frame["kind"] == kind], 3 - 0.1 * number  # schedules without a tree in front
        if not part.empty:
            x, y = part["predictions"], part["accuracy"]
            axis.plot(x, y, ".", color=COLOURS[kind], label=text, markersize=5, zorder=order)
    axis.set_xscale("log", base=2)
    axis.set_xlabel("noise predictions per image")
    axis.set_title(title, loc="left")


def curve(run: Path, tree: Path | None = None) -> pd.DataFrame:
    """Replay every schedule on one run; `tree`, a label tree's file, adds those that descend it.

    Columns: kind, schedule, mean `predictions` per image, `accuracy`, and its paired `difference` from the full
    evaluation with `low` and `high`. The schedules `chosen` on the first half of the images also have, on the second
    half, how many times `fewer` predictions they need than the full evaluation, and their `difference` from it.
    """
    spec = embedded_spec(run)
    errors, images, _ = full_errors(read_columns(run, TRIALS).to_pandas())
    dataset = load_dataset(spec["dataset"])
    labels = dict(zip(dataset.ids, dataset.labels, strict=True))
    levels = None if tree is None else read_levels(tree, dataset.class_names)
    outcome = in_full(errors)
    full = Schedule("full", "every class, every trial", outcome, hits(outcome, images, labels))
    schedules = [
        Schedule(kind, name, outcome, hits(outcome, images, labels))
        for kind, name, outcome in _outcomes(errors, levels)
    ]
    frame = pd.DataFrame([schedule.row(full) for schedule in (full, *schedules)])
    frame = frame.assign(chosen=False, held_out_fewer=np.nan, held_out_difference=np.nan)
    first, second = slice(len(images) // 2), slice(len(images) // 2, None)
    for kind in KINDS:
        accurate = [
            (number, schedule)
            for number, schedule in enumerate(schedules, start=1)
            if schedule.kind == kind and 100 * (schedule.accuracy(first) - full.accuracy(first)) >= -TOLERANCE
        ]
        if accurate:
            number, cheapest = min(accurate, key=lambda numbered: numbered[1].predictions(first))
            difference = 100 * (cheapest.accuracy(second) - full.accuracy(second))
            held_out = [True, full.predictions(second) / cheapest.predictions(second), difference]
            frame.loc[number, ["chosen", "held_out_fewer", "held_out_difference"]] = held_out
    return frame


def _outcomes(errors: np.ndarray, levels: tuple[Groups, ...] | None) -> Iterator[tuple[str, str, Outcome]]:
    """Yield kind, name and outcome of every schedule.

    These are all two and three stages whose trials divide the run's, and elimination at every z; then, after every
    descent of the tree, the two stages and elimination.
    """
    classes, trials = errors.shape[1:]
    firsts = [n for n in range(1, trials) if trials % n == 0]
    keeps = range(2, min(classes, 6))
    two = [Stages((n, trials), (k, 1)) for n, k in product(firsts, keeps)]
    three = [
        Stages((a, b, trials), (k, m, 1))
        for a, b in product(firsts, firsts)
        if a < b
        for k in keeps
        for m in keeps
        if m < k
    ]
    eliminations = [Elimination(z, every) for z, every in product(ZS, EVERY) if every < trials]
    for stages in two + three:
        yield "stages", _named(stages), by_stages(errors, stages)
    for elimination in eliminations:
        yield "elimination", _named(elimination), by_elimination(errors, elimination)
    if levels is None:
        return
    for kept, representatives in product(GROUPS_KEPT, REPRESENTATIVES):
        descent = Descent(levels, representatives=representatives, **kept)
        name = f"tree {' '.join(f'{key} {value:g}' for key, value in kept.items())} of {representatives}"
        for stages in two:
            if descent.z is None or stages.targets[0] > 1:
                yield "tree_stages", f"{name}, {_named(stages)}", by_stages(errors, stages, descent)
        for elimination in eliminations:
            yield "tree_elimination", f"{name}, {_named(elimination)}", by_elimination(errors, elimination, descent)


def _named(schedule: Stages | Elimination) -> str:
    """Return the name of a schedule without a tree."""
    if isinstance(schedule, Stages):
        return f"{list(schedule.targets)} keep {list(schedule.keep)}"
    return f"z {schedule.z:g}, every {schedule.every}"
