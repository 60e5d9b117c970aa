"""Noise predictions against Acc@1: the fixed stages of Table 10 beside elimination by paired tests.

All from runs that store every class at every trial. Schedules are many, so the best of them on the images it is judged
on would flatter: each kind's cheapest schedule within 0.3 points of the full evaluation is chosen on the first half of
the images and judged on the second.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bigain.classifier.elimination import TESTS, Elimination
from bigain.classifier.timesteps import Stages
from bigain.core.files import write_text
from bigain.core.records import spec_of
from bigain.core.validation import TRIALS, read_columns
from bigain.datasets import load as load_dataset
from bigain.metrics.replay import Outcome, by_stages, by_test, full_errors, hits
from bigain.metrics.significance import paired_difference
from bigain.reporting import style

LEVELS = (0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0.02, 0.01)
EVERY = (2, 4, 5)
TOLERANCE = 0.3  # points of Acc@1
KINDS = {"stages": "fixed stages", "cantelli": "Cantelli", "empirical_bernstein": "empirical Bernstein"}
COLOURS = {"stages": "#000000", "cantelli": "#0072B2", "empirical_bernstein": "#D55E00"}


def write_elimination(runs: list[Path], csv: Path, pdf: Path, png: Path) -> None:
    """A row for every run and schedule, and a panel a run. Raises ValueError naming a run that has stages."""
    frames = {}
    for run in runs:
        spec = spec_of(run)
        title = f"{spec['backbone']['id']}, {spec['method']}" + (f" {spec['strength']:g}" if spec["strength"] else "")
        try:
            frames[title] = curve(run)
        except ValueError as error:
            raise ValueError(f"{run}: {error}") from error
    table = pd.concat([frame.assign(run=title) for title, frame in frames.items()], ignore_index=True)
    order = ["run", *[name for name in table.columns if name != "run"]]
    write_text(csv, table[order].to_csv(index=False, float_format="%.3f", lineterminator="\n"))
    with plt.rc_context(style.SETTINGS):
        figure, axes = plt.subplots(1, len(frames), figsize=(3.6 * len(frames), 3), squeeze=False, sharey=False)
        for axis, (title, frame) in zip(axes[0], frames.items(), strict=True):
            _panel(axis, title, frame)
        axes[0, 0].set_ylabel("Acc@1 (%)")
        axes[0, -1].legend(loc="lower right", frameon=False)
        figure.tight_layout()
    style.save(figure, pdf, png)


def _panel(axis: plt.Axes, title: str, frame: pd.DataFrame) -> None:
    full = frame[frame["kind"] == "full"].iloc[0]
    axis.axhline(full["accuracy"], color="#999999", linewidth=0.8)
    axis.axhspan(full["accuracy"] - TOLERANCE, full["accuracy"] + TOLERANCE, color="#999999", alpha=0.25, linewidth=0)
    for kind, text in KINDS.items():
        part = frame[frame["kind"] == kind]
        axis.plot(part["predictions"], part["accuracy"], ".", color=COLOURS[kind], label=text, markersize=5)
    axis.set_xscale("log", base=2)
    axis.set_xlabel("noise predictions an image")
    axis.set_title(title, loc="left")


def curve(run: Path) -> pd.DataFrame:
    """Every schedule on one run: kind, schedule, mean `predictions` an image and how many times `fewer` than all,
    `accuracy`, its paired `difference` from the full evaluation with `low` and `high`, and where the schedule was
    `chosen` on the first half, `fewer` and `difference` on the second."""
    spec = spec_of(run)
    errors, images, _ = full_errors(read_columns(run, TRIALS).to_pandas())
    dataset = load_dataset(spec["dataset"])
    labels = dict(zip(dataset.ids, dataset.labels, strict=True))
    everything = np.full(len(images), errors.shape[1] * errors.shape[2])
    full = Outcome(errors.mean(axis=2).argmin(axis=1), everything)
    right = hits(full, images, labels)
    rows = [_row("full", "every class, every trial", full, right, right)]
    found: list[tuple[str, Outcome, np.ndarray]] = []
    for kind, schedule, outcome in _schedules(errors):
        own = hits(outcome, images, labels)
        found.append((kind, outcome, own))
        rows.append(_row(kind, schedule, outcome, own, right))
    frame = pd.DataFrame(rows).assign(chosen=False, held_out_fewer=np.nan, held_out_difference=np.nan)
    half = len(images) // 2
    for kind in KINDS:
        mine = [k for k, (own_kind, _, _) in enumerate(found) if own_kind == kind]
        good = [k for k in mine if 100 * (found[k][2][:half].mean() - right[:half].mean()) >= -TOLERANCE]
        if good:
            best = min(good, key=lambda k: found[k][1].predictions[:half].mean())
            _, outcome, own = found[best]
            held_out = 100 * (own[half:].mean() - right[half:].mean())
            values = [True, everything[0] / outcome.predictions[half:].mean(), held_out]
            frame.loc[best + 1, ["chosen", "held_out_fewer", "held_out_difference"]] = values
    return frame


def _schedules(errors: np.ndarray) -> Iterator[tuple[str, str, Outcome]]:
    """Two and three stages of what divides the number of trials, and every test at every level."""
    classes, trials = errors.shape[1:]
    firsts = [n for n in range(1, trials) if trials % n == 0]
    keeps = range(2, min(classes, 6))
    two = [((n, trials), (k, 1)) for n, k in product(firsts, keeps)]
    three = [
        ((a, b, trials), (k, m, 1)) for a, b in product(firsts, firsts) if a < b for k in keeps for m in keeps if m < k
    ]
    for targets, keep in two + three:
        yield "stages", f"{list(targets)} keep {list(keep)}", by_stages(errors, Stages(targets, keep))
    for test, level, every in product(TESTS, LEVELS, EVERY):
        if every < trials:
            yield test, f"level {level:g}, every {every}", by_test(errors, Elimination(test, level, every))


def _row(kind: str, schedule: str, outcome: Outcome, own: np.ndarray, full: np.ndarray) -> dict[str, str | float]:
    difference = paired_difference(own, full, seed=0)
    return {
        "kind": kind,
        "schedule": schedule,
        "predictions": outcome.predictions.mean(),
        "accuracy": 100 * own.mean(),
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "images": len(own),
    }
