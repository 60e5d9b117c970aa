"""Figure 1 (percent change relative to the uncompressed model), and sheets of generated samples."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from bigain.core.columns import csv_text
from bigain.core.files import whole_file, write_text
from bigain.methods.method import StrengthKind
from bigain.reporting import names, style
from bigain.reporting.frames import groups
from bigain.reporting.tables import arm_rows

PAIRS: dict[StrengthKind, tuple[str, str]] = {
    "merge_ratio": ("tome", "bigain_tm"),
    "downsample_factor": ("todo", "bigain_td"),
}
FIGURE_METRICS = ("acc@1", "fd", "fid")


class Panel(NamedTuple):
    """A column of Figure 1."""

    metric: str
    backbone: str
    dataset: str


def percent_change(results: pd.DataFrame) -> pd.DataFrame:
    """Return every compressed cell's value and interval as percent change from its uncompressed model's value."""
    keys = ["backbone", "dataset", "metric", "seed"]
    full = results[results["method"] == "none"].set_index(keys)["value"].rename("full")
    joined = results[results["method"] != "none"].join(full, on=keys, how="inner").reset_index(drop=True)
    for column in ("value", "low", "high"):
        joined[column] = 100 * (joined[column] - joined["full"]) / joined["full"]
    return joined


def write_figure_1(results: pd.DataFrame, pdf: Path, png: Path, csv: Path) -> None:
    """Write Figure 1: percent change of accuracy and Fréchet distance, ToMe vs BiGain_TM and ToDo vs BiGain_TD.

    Its bars are also written as CSV. A study without compressed cells gets a figure that says so.
    """
    compressed = results[(results["method"] != "none") & results["metric"].isin(FIGURE_METRICS)]
    panels = [Panel(*place) for place, _ in groups(compressed, ["metric", "backbone", "dataset"])]
    bars = mean_changes(results)
    write_text(csv, csv_text("figure1", arm_rows(bars)))
    if compressed.empty:
        style.save(style.message("This study has no compressed cells."), pdf, png)
        return
    with style.look():
        style.save(_figure_1(bars, panels), pdf, png)


def mean_changes(results: pd.DataFrame) -> pd.DataFrame:
    """Return the bars of Figure 1, averaged over seeds: `change_percent` with its `low` and `high`."""
    changes = percent_change(results)
    in_pair = [method in PAIRS.get(kind, ()) for method, kind in changes[["method", "strength_kind"]].to_numpy()]
    shown = changes[changes["metric"].isin(FIGURE_METRICS) & np.array(in_pair, dtype=bool)]
    keys = ["backbone", "dataset", "metric", "method", "strength"]
    means = shown.groupby(keys, sort=False)[["value", "low", "high"]].mean().reset_index()
    return means.rename(columns={"value": "change_percent"})


def _figure_1(bars: pd.DataFrame, panels: list[Panel]) -> plt.Figure:
    figure, axes = plt.subplots(len(PAIRS), len(panels), figsize=(2.6 * len(panels), 5), squeeze=False, sharey=False)
    for row, (kind, pair) in zip(axes, PAIRS.items(), strict=True):
        for axis, panel in zip(row, panels, strict=True):
            _draw_panel(axis, bars, kind, pair, panel)
        row[0].set_ylabel("change in %")
    for axis, panel in zip(axes[0], panels, strict=True):
        metric = names.METRICS[panel.metric]
        arrow = "↑" if metric.better == "higher" else "↓"
        axis.set_title(f"{panel.backbone}, {panel.dataset}\n{metric.label} {arrow}", fontsize=9)
    for row, pair in zip(axes, PAIRS.values(), strict=True):
        handles = [
            plt.Rectangle((0, 0), 1, 1, color=style.COLOURS[method], label=style.label(method)) for method in pair
        ]
        row[-1].legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1), fontsize=8, frameon=False)
    figure.tight_layout()
    return figure


def _draw_panel(axis: plt.Axes, bars: pd.DataFrame, kind: StrengthKind, pair: tuple[str, str], panel: Panel) -> None:
    shown = bars[
        (bars["metric"] == panel.metric)
        & (bars["backbone"] == panel.backbone)
        & (bars["dataset"] == panel.dataset)
        & bars["method"].isin(pair)
    ]
    strengths = sorted(shown["strength"].unique())
    for place, method in enumerate(pair):
        means = shown[shown["method"] == method].sort_values("strength")
        height = means["change_percent"]
        x = [strengths.index(strength) + (place - 0.5) * 0.38 for strength in means["strength"]]
        errors = np.stack([height - means["low"], means["high"] - height])
        axis.bar(x, height, 0.36, yerr=errors, color=style.COLOURS[method], error_kw={"lw": 0.8})
    axis.set_xlim(-0.5, max(len(strengths), 1) - 0.5)
    if not strengths:
        axis.text(0.5, 0.6, "not run", ha="center", transform=axis.transAxes, color="#777777", fontsize=8)
        axis.set_yticks([])
    axis.axhline(0, color="black", lw=0.8)
    axis.set_xticks(range(len(strengths)), [names.strength(kind, strength) for strength in strengths])
    axis.set_xlabel(names.STRENGTHS[kind], fontsize=8)
    axis.tick_params(labelsize=8)


def write_sample_sheet(files: list[Path], output: Path) -> None:
    """Write a sheet of the images stored with generated chunks: a row per cell, labelled with method and strength."""
    rows = [load_file(file)["images"] for file in files]
    count = max(len(images) for images in rows)
    figure, axes = plt.subplots(len(rows), 1, figsize=(0.45 * count + 1.8, 0.5 * len(rows)), squeeze=False)
    for axis, file, images in zip(axes[:, 0], files, rows, strict=True):
        strip = np.concatenate([np.moveaxis(image, 0, -1) for image in images], axis=1).squeeze()
        axis.imshow(strip, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        method, strength = file.parts[-4:-2]
        axis.set_ylabel(f"{method}\n{strength}", rotation=0, ha="right", va="center", fontsize=7)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.subplots_adjust(left=1.5 / (0.45 * count + 1.8), right=1, top=1, bottom=0, hspace=0.05)
    with whole_file(output) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
    plt.close(figure)
