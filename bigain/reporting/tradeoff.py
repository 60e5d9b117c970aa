"""The trade-off that the paper has no figure of: recognition against operations, and against generation."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bigain.reporting import names, style


def write_tradeoff(results: Path, measured: list[Path], pdf: Path, png: Path) -> None:
    """For every backbone and data set: Acc@1 over GFLOPs, and over the Fréchet distance where images were generated.

    A line joins a method's strengths; the grey stairs are the Pareto front, what no cell beats in both.
    """
    efficiency = pd.concat([pd.read_csv(file) for file in measured], ignore_index=True)
    cells = points(pd.read_parquet(results), efficiency)
    panels = [(key, part) for key, part in cells.groupby(["backbone", "dataset"], sort=False)]
    if not panels:
        style.save(style.message("This study has no classification cells."), pdf, png)
        return
    with plt.rc_context(style.SETTINGS):
        figure, axes = plt.subplots(len(panels), 2, figsize=(8, 3.1 * len(panels)), squeeze=False)
        for row, ((backbone, dataset), part) in zip(axes, panels, strict=True):
            _panel(row[0], part, "gflops", "GFLOPs of a forward pass")
            metric = part["distance_name"].dropna()
            name = names.METRICS[metric.iloc[0]][0] if len(metric) else "Fréchet distance"
            _panel(row[1], part, "distance", name)
            row[0].set_title(f"{backbone}, {dataset}", loc="left")
            row[0].set_ylabel("Acc@1 (%)")
        handles = {}
        for axis in axes.flat:
            for handle, text in zip(*axis.get_legend_handles_labels(), strict=True):
                handles.setdefault(text, handle)
        figure.tight_layout()
        figure.legend(handles.values(), handles.keys(), loc="upper left", bbox_to_anchor=(1, 0.98), frameon=False)
    style.save(figure, pdf, png)


def points(results: pd.DataFrame, efficiency: pd.DataFrame) -> pd.DataFrame:
    """A row a classified cell, averaged over seeds: `accuracy` with `low` and `high`, `gflops` and, where the same
    method was generated with at the same strength, `distance`. Presets only: their variants have tables of their own.
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
    """Which points no other beats in both: lower or equal cost and higher or equal accuracy, one of them strictly."""
    better = (cost[None] <= cost[:, None]) & (accuracy[None] >= accuracy[:, None])
    strictly = (cost[None] < cost[:, None]) | (accuracy[None] > accuracy[:, None])
    return ~(better & strictly).any(axis=1)


def _panel(axis: plt.Axes, cells: pd.DataFrame, cost: str, label: str) -> None:
    axis.set_xlabel(label)
    here = cells[cells[cost].notna()]
    if here.empty:
        axis.text(0.5, 0.5, "not run", ha="center", transform=axis.transAxes, color="#777777")
        axis.set_xticks([])
        axis.set_yticks([])
        return
    front = here[pareto(here[cost].to_numpy(), here["accuracy"].to_numpy())].sort_values(cost)
    axis.step(front[cost], front["accuracy"], where="post", color="#cccccc", lw=3, zorder=0, label="Pareto front")
    for method, mine in here.sort_values("strength").groupby("method", sort=False):
        errors = np.stack([mine["accuracy"] - mine["low"], mine["high"] - mine["accuracy"]])
        axis.errorbar(
            mine[cost],
            mine["accuracy"],
            yerr=errors,
            color=style.COLOURS[method],
            marker=style.MARKERS[method],
            markersize=9 if method == "none" else 5,
            lw=0.8,
            elinewidth=0.5,
            label=style.label(method),
        )
