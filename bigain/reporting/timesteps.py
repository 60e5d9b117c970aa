"""Accuracy at single timesteps of stored runs, and weights w(t) fitted on half of the images.

Weights are judged on the other half of the images, whose accuracy and paired difference from uniform weights have 95%
intervals.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bigain.core.files import write_text
from bigain.core.records import embedded_spec
from bigain.core.rng import is_for_fitting
from bigain.core.rounding import rounded
from bigain.core.validation import TRIALS, read_columns
from bigain.datasets import load as load_dataset
from bigain.metrics.informative_timesteps import Judged, hits_at_timesteps, judge_weights
from bigain.metrics.timestep_weights import T
from bigain.reporting import style
from bigain.reporting.elimination import run_title

COLOURS = {"uniform": "#999999", "exp(-7t)": "#D55E00", "fitted, piecewise linear": "#0072B2"}
COLOURS |= {"fitted, polynomial": "#009E73", "fitted, logit-normal": "#CC79A7"}


def write_timesteps(runs: list[Path], csv: Path, weights_csv: Path, pdf: Path, png: Path) -> pd.DataFrame:
    """Write the accuracy of every run at every timestep, the table of weights, and two panels per run; return the table
    of weights.

    Raises ValueError naming a run that has several classes per image, or too few images.
    """
    profiles, judged = {}, {}
    for run in runs:
        title = run_title(embedded_spec(run))
        try:
            trials, labels, classes = _read(run)
            profiles[title] = _profile(trials, labels, classes)
            judged[title] = judge_weights(trials, labels, [image for image in labels if is_for_fitting(image)])
        except ValueError as error:
            raise ValueError(f"{run}: {error}") from error
    weights = _stacked({title: part.table for title, part in judged.items()})
    for file, table in ((csv, _stacked(profiles)), (weights_csv, weights)):
        write_text(file, table.to_csv(index=False, float_format="%.3f", lineterminator="\n"))
    with style.look():
        figure, axes = plt.subplots(2, len(runs), figsize=(3.6 * len(runs), 4.6), squeeze=False, sharex=True)
        for column, title in enumerate(profiles):
            _accuracy_panel(axes[0, column], title, profiles[title])
            _weights_panel(axes[1, column], judged[title])
        axes[0, 0].set_ylabel("Acc@1 (%) at one timestep")
        axes[1, 0].set_ylabel("w(t), mean 1")
        axes[1, -1].legend(frameon=False)
        figure.tight_layout()
    style.save(figure, pdf, png)
    return weights


def _profile(trials: pd.DataFrame, labels: Mapping[int, int], classes: int) -> pd.DataFrame:
    """Return the accuracy at every timestep. Raises ValueError if none has an error of every class."""
    decided = hits_at_timesteps(trials, labels, classes)
    if not decided.timesteps:
        raise ValueError(f"at no timestep does every image have an error of each of the {classes} classes")
    return decided.accuracies()


def _read(run: Path) -> tuple[pd.DataFrame, Mapping[int, int], int]:
    dataset = load_dataset(embedded_spec(run)["dataset"])
    labels = dict(zip(dataset.ids, dataset.labels, strict=True))
    if any(len(classes) > 1 for classes in labels.values()):
        raise ValueError("its images have several classes, and accuracy at a timestep needs images with one")
    only = {image: classes[0] for image, classes in labels.items()}
    return read_columns(run, TRIALS).to_pandas(), only, len(dataset.prompts)


def _stacked(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    table = pd.concat([frame.assign(run=title) for title, frame in frames.items()], ignore_index=True)
    return table[["run", *[name for name in table.columns if name != "run"]]]


def _accuracy_panel(axis: plt.Axes, title: str, profile: pd.DataFrame) -> None:
    axis.plot(profile["t"], profile["accuracy"], ".-", color="#000000", markersize=4, linewidth=0.8)
    axis.fill_between(profile["t"], profile["low"], profile["high"], color="#000000", alpha=0.15, linewidth=0)
    axis.plot(profile["t"], profile["chance"], ":", color="#999999", linewidth=0.8)
    axis.set_title(title, loc="left")


def _weights_panel(axis: plt.Axes, judged: Judged) -> None:
    t = np.linspace(1, T - 1, 200) / T
    for name, weights in judged.weights.items():
        values = weights(t)
        row = judged.table[judged.table["weights"] == name].iloc[0]
        axis.plot(
            T * t,
            values / values.mean(),
            color=COLOURS[name],
            linewidth=1,
            label=f"{name}: {rounded(row['accuracy'], 0)}%",
        )
    axis.set_xlabel("t")
