"""Figure 1 (percent change relative to the uncompressed model), and sheets of generated samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from safetensors.numpy import load_file

from bigain.core.columns import csv_text
from bigain.core.files import whole_file, write_text
from bigain.methods.method import StrengthKind
from bigain.reporting import names, style
from bigain.reporting.frames import CellMetric
from bigain.reporting.scores import Scores
from bigain.reporting.tables import arm_columns, change

PAIRS: dict[StrengthKind, tuple[str, str]] = {  # the rival, and the paper's method
    "merge_ratio": ("tome", "bigain_tm"),
    "downsample_factor": ("todo", "bigain_td"),
}
FIGURE_METRICS = ("acc@1", "fd", "fid")
SHADE = 0.25  # opacity behind the better method of a pair whose difference is significant


class Panel(NamedTuple):
    """A column of Figure 1."""

    metric: str
    backbone: str
    dataset: str


class Change(NamedTuple):
    """A cell's number minus another's, in percent of the uncompressed model's number, with its paired 95% interval."""

    cell: CellMetric
    against: str
    change_percent: float
    low: float
    high: float

    @property
    def better(self) -> str | None:
        """The method that is significantly better, None if neither is."""
        if self.low <= 0 <= self.high:
            return None
        is_higher_better = names.METRICS[self.cell.metric].better == "higher"
        return self.cell.method if (self.low > 0) == is_higher_better else self.against


def write_figure_1(scores: Scores, pdf: Path, png: Path, csv: Path) -> None:
    """Write Figure 1: percent change of accuracy and Fréchet distance, ToMe vs BiGain_TM and ToDo vs BiGain_TD.

    Its numbers are also written as CSV. A study without compressed cells gets a figure that says so.
    """
    shown = changes(scores)
    write_text(csv, csv_text("figure1", map(_csv_row, shown)))
    if not shown:
        style.save(style.message("This study has no compressed cells to compare with an uncompressed one."), pdf, png)
        return
    with style.look():
        style.save(_figure_1(shown), pdf, png)


def changes(scores: Scores) -> list[Change]:
    """Return the changes that Figure 1 shows: of each method from the uncompressed model, and from its rival."""
    rivals = {ours: rival for rival, ours in PAIRS.values()}
    shown = []
    for metric in FIGURE_METRICS:
        for cell in (cell for pair in PAIRS.values() for method in pair for cell in scores.cells(metric, method)):
            full = cell._replace(method="none", strength=None)
            if not scores.comparable(cell, full) or scores.value(full) == 0:
                continue
            shown.append(_change(scores, cell, full, full))
            rival = cell._replace(method=rivals.get(cell.method, ""))
            if scores.comparable(cell, rival):
                shown.append(_change(scores, cell, rival, full))
    return shown


def _change(scores: Scores, cell: CellMetric, other: CellMetric, full: CellMetric) -> Change:
    """Return the change of a cell from another, in percent of the uncompressed model's number."""
    scale = 100 / scores.value(full)
    return Change(cell, other.method, *(scale * end for end in change(scores, cell, other)))


def _csv_row(shown: Change) -> dict[str, Any]:
    cell = shown.cell._asdict() | arm_columns(shown.cell.method, shown.cell.strength)
    return cell | {name: getattr(shown, name) for name in ("against", "change_percent", "low", "high")}


def _figure_1(shown: list[Change]) -> plt.Figure:
    panels = list(dict.fromkeys(Panel(c.cell.metric, c.cell.backbone, c.cell.dataset) for c in shown))
    figure, axes = plt.subplots(len(PAIRS), len(panels), figsize=(2.6 * len(panels), 5), squeeze=False, sharey=False)
    for row, (kind, pair) in zip(axes, PAIRS.items(), strict=True):
        for axis, panel in zip(row, panels, strict=True):
            here = [c for c in shown if Panel(c.cell.metric, c.cell.backbone, c.cell.dataset) == panel]
            _draw_panel(axis, [c for c in here if c.cell.method in pair], kind, pair)
        row[0].set_ylabel("change in %")
    for axis, panel in zip(axes[0], panels, strict=True):
        metric = names.METRICS[panel.metric]
        arrow = "↑" if metric.better == "higher" else "↓"
        axis.set_title(f"{panel.backbone}, {panel.dataset}\n{metric.label} {arrow}", fontsize=9)
    for row, pair in zip(axes, PAIRS.values(), strict=True):
        row[-1].legend(handles=_legend(pair), loc="upper left", bbox_to_anchor=(1, 1), fontsize=8, frameon=False)
    figure.tight_layout()
    return figure


def _legend(pair: tuple[str, str]) -> list[Artist]:
    points = [
        plt.Line2D([], [], color=style.colour(method), marker=style.marker(method), label=style.label(method))
        for method in pair
    ]
    shades = [
        plt.Rectangle(
            (0, 0), 1, 1, color=style.colour(method), alpha=SHADE, lw=0, label=f"{style.label(method)} better"
        )
        for method in pair
    ]
    return [*points, *shades]


def _draw_panel(axis: plt.Axes, shown: list[Change], kind: StrengthKind, pair: tuple[str, str]) -> None:
    """Draw every change from the uncompressed model with its interval; shade the significantly better method."""
    strengths = sorted({c.cell.strength for c in shown if c.cell.strength is not None})
    middles: dict[float | None, int] = {strength: middle for middle, strength in enumerate(strengths)}
    for place, method in enumerate(pair):
        points = [c for c in shown if c.cell.method == method and c.against == "none"]
        x = [middles[c.cell.strength] + (place - 0.5) * 0.3 for c in points]
        height = np.array([c.change_percent for c in points])
        errors = [height - [c.low for c in points], np.array([c.high for c in points]) - height]
        look: dict[str, Any] = {
            "color": style.colour(method),
            "marker": style.marker(method),
            "ls": "",
            "ms": 5,
            "elinewidth": 1.2,
        }
        axis.errorbar(x, height, yerr=errors, **look)
    for lead in shown:
        if lead.against != "none" and lead.better is not None:
            middle = middles[lead.cell.strength] + (pair.index(lead.better) - 0.5) * 0.3
            axis.axvspan(middle - 0.15, middle + 0.15, color=style.colour(lead.better), alpha=SHADE, lw=0)
    axis.set_xlim(-0.5, max(len(strengths), 1) - 0.5)
    if strengths:
        axis.axhline(0, color="black", lw=0.8)
    else:
        axis.text(0.5, 0.5, "not run", ha="center", transform=axis.transAxes, color="#777777", fontsize=8)
        axis.set_yticks([])
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
