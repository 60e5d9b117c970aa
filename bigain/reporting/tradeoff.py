"""The trade-off of which the paper has no figure: accuracy against operations, and against generation quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bigain.core.columns import columns_of, csv_text
from bigain.core.files import write_text
from bigain.reporting import names, style
from bigain.reporting.frames import by_method, groups
from bigain.reporting.tables import arm_rows


def write_tradeoff(results: pd.DataFrame, measured: pd.DataFrame, pdf: Path, png: Path, csv: Path) -> None:
    """Write, for every backbone and data set, Acc@1 over GFLOPs, and over the Fréchet distance of generated images.

    A line connects a method's strengths; the grey staircase is the Pareto front. The points are also written as CSV.
    """
    cells = points(results, measured)
    shown = [name for name in columns_of("tradeoff") if name in cells]
    write_text(csv, csv_text("tradeoff", arm_rows(cells[shown])))
    panels = groups(cells, ["backbone", "dataset"])
    if not panels:
        style.save(style.message("This study has no classification cells."), pdf, png)
        return
    with style.look():
        figure, axes = plt.subplots(len(panels), 2, figsize=(8, 3.1 * len(panels)), squeeze=False)
        for row, ((backbone, dataset), part) in zip(axes, panels, strict=True):
            _panel(row[0], part, "gflops", "GFLOPs of a forward pass")
            metric = part["distance_name"].dropna()
            _panel(row[1], part, "distance", names.METRICS[metric.iloc[0]].label if len(metric) else "Fréchet distance")
            row[0].set_title(f"{backbone}, {dataset}", loc="left")
            row[0].set_ylabel("Acc@1 (%)")
        handles: dict[str, Any] = {}
        for axis in axes.flat:
            for handle, text in zip(*axis.get_legend_handles_labels(), strict=True):
                handles.setdefault(text, handle)
        figure.tight_layout()
        place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1, 0.98)}
        figure.legend(list(handles.values()), list(handles), frameon=False, **place)
    style.save(figure, pdf, png)


def points(results: pd.DataFrame, efficiency: pd.DataFrame) -> pd.DataFrame:
    """Return a row per classified cell of a preset, averaged over seeds; variants are left to their own tables.

    Columns: `accuracy` with `low` and `high`, `gflops`, and `distance` where the cell was also generated.
    """
    keys = ["backbone", "dataset", "method", "strength"]
    mean = results.groupby([*keys, "metric"], dropna=False)[["value", "low", "high"]].mean().reset_index()
    accuracy = mean[mean["metric"] == "acc@1"].rename(columns={"value": "accuracy"}).drop(columns="metric")
    distance = mean[mean["metric"].isin(names.DISTANCES)]
    distance = distance.rename(columns={"value": "distance", "metric": "distance_name"})
    joined = accuracy.merge(distance[[*keys, "distance", "distance_name"]], on=keys, how="left")
    counted = efficiency[["backbone", "method", "strength", "gflops"]]
    joined = joined.merge(counted, on=["backbone", "method", "strength"], how="left")
    return joined[joined["gflops"].notna() & (joined["method"] == joined["method"].map(style.preset))]


def pareto(cost: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """Return which points are on the Pareto front.

    Off it are those that another point beats: lower or equal cost, higher or equal accuracy, one of them strictly.
    """
    better = (cost[None] <= cost[:, None]) & (accuracy[None] >= accuracy[:, None])
    strictly = (cost[None] < cost[:, None]) | (accuracy[None] > accuracy[:, None])
    return np.logical_not((better & strictly).any(axis=1))


def _panel(axis: plt.Axes, cells: pd.DataFrame, cost: str, label: str) -> None:
    axis.set_xlabel(label)
    cells = cells[cells[cost].notna()]
    if cells.empty:
        axis.text(0.5, 0.5, "not run", ha="center", transform=axis.transAxes, color="#777777")
        axis.set_xticks([])
        axis.set_yticks([])
        return
    front = cells[pareto(cells[cost].to_numpy(), cells["accuracy"].to_numpy())].sort_values(cost)
    axis.step(front[cost], front["accuracy"], where="post", color="#cccccc", lw=3, zorder=0, label="Pareto front")
    for method, strengths in by_method(cells.sort_values("strength")):
        errors = np.stack([strengths["accuracy"] - strengths["low"], strengths["high"] - strengths["accuracy"]])
        axis.errorbar(
            strengths[cost],
            strengths["accuracy"],
            yerr=errors,
            color=style.COLOURS[method],
            marker=style.MARKERS[method],
            markersize=9 if method == "none" else 5,
            lw=0.8,
            elinewidth=0.5,
            label=style.label(method),
        )
