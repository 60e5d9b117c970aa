"""The trade-off, which the paper does not plot: accuracy against operations, and against generation quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from bigain.core.columns import columns_of, csv_text
from bigain.core.files import write_text
from bigain.reporting import names, style
from bigain.reporting.frames import CellMetric, by_method, groups, optional, records
from bigain.reporting.pareto import front, places, significantly_better
from bigain.reporting.scores import Scores
from bigain.reporting.tables import arm_rows

PLACES: dict[str, dict[str, Any]] = {  # on a front, and how a point is drawn there
    "sure": {"markeredgecolor": "black", "markeredgewidth": 1.5},
    "possible": {"markeredgewidth": 0.5},
    "off": {"markerfacecolor": "white", "markeredgewidth": 0.8},
}
MEANINGS = {"sure": "surely on the Pareto front", "possible": "possibly on it", "off": "surely off it"}


def write_tradeoff(
    results: pd.DataFrame, scores: Scores, measured: pd.DataFrame, pdf: Path, png: Path, csv: Path
) -> None:
    """Write, for every backbone and data set, Acc@1 over GFLOPs, and over the Fréchet distance of generated images.

    A line connects a method's strengths; the grey staircase is the Pareto front of the estimates. The points are also
    written as CSV.
    """
    cells = with_fronts(points(results, measured), scores)
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
        for place, look in PLACES.items():
            handles[MEANINGS[place]] = plt.Line2D([], [], ls="", marker="o", ms=5, color="#777777", **look)
        figure.tight_layout()
        figure.legend(list(handles.values()), list(handles), frameon=False, loc="upper left", bbox_to_anchor=(1, 0.98))
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


def with_fronts(cells: pd.DataFrame, scores: Scores) -> pd.DataFrame:
    """Add each point's place on the fronts of its backbone and data set: `front_gflops` and `front_distance`."""
    parts = [_placed(part, scores) for _, part in groups(cells, ["backbone", "dataset"])]
    return pd.concat(parts) if parts else cells.assign(front_gflops=None, front_distance=None)


def _placed(part: pd.DataFrame, scores: Scores) -> pd.DataFrame:
    gflops = part["gflops"].tolist()

    def is_cheaper(i: int, j: int) -> bool:
        return gflops[i] < gflops[j]

    def is_no_dearer(i: int, j: int) -> bool:
        return gflops[i] <= gflops[j]

    is_more_accurate = significantly_better(scores, _cells(part, "acc@1"))
    part = part.assign(front_gflops=places(len(part), is_cheaper, is_no_dearer, is_more_accurate))
    generated = part[part["distance"].notna()]
    is_nearer = significantly_better(scores, _cells(generated, "distance_name"))
    is_more_accurate = significantly_better(scores, _cells(generated, "acc@1"))
    on_second = places(len(generated), is_nearer, is_nearer, is_more_accurate)
    return part.assign(front_distance=pd.Series(on_second, generated.index, dtype=object))


def _cells(part: pd.DataFrame, metric: str) -> list[CellMetric]:
    """Return the points' cells in a metric: a metric's name, or a column that holds it."""
    return [
        CellMetric(row.get(metric, metric), row["backbone"], row["dataset"], row["method"], optional(row["strength"]))
        for row in records(part)
    ]


def _panel(axis: plt.Axes, cells: pd.DataFrame, cost: str, label: str) -> None:
    axis.set_xlabel(label)
    cells = cells[cells[cost].notna()]
    if cells.empty:
        axis.text(0.5, 0.5, "not run", ha="center", transform=axis.transAxes, color="#777777")
        axis.set_xticks([])
        axis.set_yticks([])
        return
    on = cells[front(cells[cost].to_numpy(), cells["accuracy"].to_numpy())].sort_values(cost)
    axis.step(on[cost], on["accuracy"], where="post", color="#cccccc", lw=3, zorder=0, label="front of the estimates")
    for method, strengths in by_method(cells.sort_values("strength")):
        colour, errors = style.colour(method), [strengths["accuracy"] - strengths["low"]]
        errors.append(strengths["high"] - strengths["accuracy"])
        axis.errorbar(strengths[cost], strengths["accuracy"], errors, color=colour, lw=0.8, elinewidth=0.5, alpha=0.45)
        for point in records(strengths):
            look = PLACES[point[f"front_{cost}"]]
            size = 9 if method == "none" else 5
            axis.plot(point[cost], point["accuracy"], style.marker(method), color=colour, ms=size, **look)
        axis.plot([], [], style.marker(method), color=colour, ms=5, label=style.label(method))
