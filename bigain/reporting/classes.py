"""Draw the change of accuracy class by class, which a mean over classes hides."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bigain.core.columns import csv_text
from bigain.core.files import write_text
from bigain.methods.ids import method_of
from bigain.metrics.significance import paired
from bigain.reporting import names, style
from bigain.reporting.collected import CellScores
from bigain.reporting.frames import CellMetric, by_method, groups
from bigain.reporting.tables import arm_rows

NAMED = 40  # the most classes whose names fit; of more, only the sorted changes are drawn
FEWEST = 10  # images of a class that is drawn: fewer say next to nothing
KEYS = ("backbone", "dataset", "method", "strength")
NUMBERS = ("accuracy", "accuracy_uncompressed", "change", "low", "high", "images")
SHOWN = (("tome", "bigain_tm"), ("todo", "bigain_td"))  # a column of the figure each
APART = 0.3  # distance of two methods in a class's row


def write_class_changes(cells: list[CellScores], pdf: Path, png: Path, csv: Path) -> None:
    """Draw every class's Acc@1 minus the uncompressed model's, in points, each shown method at its highest strength.

    The numbers are also written as CSV, those of classes with too few images to be drawn included.
    """
    changes = class_changes(cells)
    write_text(csv, csv_text("classes", arm_rows(changes)))
    panels = groups(changes, ["backbone", "dataset"])
    if not panels:
        style.save(style.message("This study has no compressed single-label cells."), pdf, png)
        return
    with style.look():
        style.save(_figure(panels), pdf, png)


def class_changes(cells: list[CellScores]) -> pd.DataFrame:
    """Return a row per backbone, data set, method (at its highest strength) and class, averaged over seeds.

    Columns: `accuracy`, `accuracy_uncompressed` on the same images, `change` in points, with its paired 95% interval
    (`low`, `high`) if the class has enough images to be drawn, and the number of its `images`.
    """
    seeds: dict[CellMetric, list[pd.Series]] = {}
    classes: dict[str, pd.Series] = {}  # of every data set's images
    for scored in cells:
        cell, items = scored["cell"], scored["items"]
        if "label" in items:
            key = CellMetric("acc@1", cell["backbone"], cell["dataset"], cell["method"], cell["strength"])
            seeds.setdefault(key, []).append(pd.Series(items["acc@1"], items["image"], dtype=float))
            classes[cell["dataset"]] = pd.Series(np.array(scored["classes"])[items["label"]], items["image"])
    hits = {key: pd.concat(of_seeds, axis=1).mean(axis=1) for key, of_seeds in seeds.items()}
    rows: list[dict[str, Any]] = []
    for ours in _at_highest_strength([cell for cell in hits if any(cell.method in pair for pair in SHOWN)]):
        uncompressed = ours._replace(method="none", strength=None)
        if uncompressed in hits:
            place = {name: getattr(ours, name) for name in KEYS}
            pairs = pd.concat([hits[ours], hits[uncompressed]], axis=1, keys=["ours", "theirs"], join="inner")
            by_class = pairs.groupby(classes[ours.dataset].reindex(pairs.index))
            rows += [place | {"class": name} | _change(images) for name, images in by_class]
    return pd.DataFrame(rows, columns=[*KEYS, "class", *NUMBERS])


def _change(images: pd.DataFrame) -> dict[str, float]:
    """Return the numbers of a class from its images' hits."""
    ours, theirs = 100 * images.mean()
    change = {"accuracy": ours, "accuracy_uncompressed": theirs, "change": ours - theirs, "images": len(images)}
    if len(images) < FEWEST:
        return change
    low, high = _interval(tuple(sorted(images["ours"] - images["theirs"])))
    return change | {"low": low, "high": high}


@cache
def _interval(differences: tuple[float, ...]) -> tuple[float, float]:
    """Return the 95% interval of sorted differences, which are the same for many of a thousand classes."""
    difference = paired(np.array(differences))
    return difference.low, difference.high


def _at_highest_strength(cells: list[CellMetric]) -> list[CellMetric]:
    """Return the cell of the highest strength of every backbone, data set and method."""
    highest: dict[CellMetric, CellMetric] = {}
    for cell in cells:
        best = highest.setdefault(cell._replace(strength=None), cell)
        if (cell.strength or 0) > (best.strength or 0):
            highest[cell._replace(strength=None)] = cell
    return list(highest.values())


def _figure(panels: list[tuple[tuple[str, ...], pd.DataFrame]]) -> plt.Figure:
    heights = [_height(changes[changes["images"] >= FEWEST]["class"].nunique()) for _, changes in panels]
    size = (8.5, sum(heights) + len(panels))
    figure, axes = plt.subplots(len(panels), len(SHOWN), figsize=size, squeeze=False, height_ratios=heights)
    for row, ((backbone, dataset), changes) in zip(axes, panels, strict=True):
        row[0].set_title(f"{backbone}, {dataset}: {_images(changes)}", loc="left", pad=20)
        changes = changes[changes["images"] >= FEWEST]
        order = changes.groupby("class")["change"].mean().sort_values(ascending=False).index.tolist()
        for axis, pair in zip(row, SHOWN, strict=True):
            shown = changes[changes["method"].isin(pair)]
            if shown.empty:
                _draw_nothing(axis)
            elif len(order) <= NAMED:
                _draw_named(axis, shown, order)
            else:
                _draw_sorted(axis, shown)
    figure.tight_layout()
    return figure


def _height(classes: int) -> float:
    """Return the height of a panel for a number of classes, in inches."""
    return max(2.5, 0.26 * min(classes, NAMED)) if classes else 0.6


def _images(changes: pd.DataFrame) -> str:
    """Say how many images the drawn classes have, and how many classes have too few."""
    images = changes.groupby("class")["images"].max()
    few, enough = images[images < FEWEST], images[images >= FEWEST]
    notes = []
    if len(enough):
        ends = dict.fromkeys((enough.min(), enough.max()))
        notes.append(f"{' to '.join(map(str, ends))} images per class")
    if len(few):
        notes.append(f"{len(few)} of {len(images)} classes left out, which have fewer than {FEWEST} images")
    return "; ".join(notes)


def _draw_nothing(axis: plt.Axes) -> None:
    axis.text(0.5, 0.5, "nothing to show", ha="center", transform=axis.transAxes, color="#777777")
    axis.set_xticks([])
    axis.set_yticks([])


def _draw_named(axis: plt.Axes, changes: pd.DataFrame, order: list[str]) -> None:
    """Draw a row per class, the one that loses most on top, and in it the methods with their intervals."""
    images = changes.groupby("class")["images"].max()
    methods = by_method(changes)
    for place, (method, rows) in enumerate(methods):
        y = rows["class"].map(order.index) + APART * ((len(methods) - 1) / 2 - place)
        errors = [rows["change"] - rows["low"], rows["high"] - rows["change"]]
        look: dict[str, Any] = {
            "color": style.colour(method),
            "fmt": style.marker(method),
            "ms": 4,
            "elinewidth": 0.8,
        }
        axis.errorbar(rows["change"], y, xerr=errors, label=_label(method, rows), **look)
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(range(len(order)), [f"{name} ({images[name]})" for name in order])
    axis.set_ylim(-0.6, len(order) - 0.4)
    axis.grid(axis="y", color="#eeeeee")
    axis.set_xlabel("change of Acc@1 in points")
    _legend(axis)


def _draw_sorted(axis: plt.Axes, changes: pd.DataFrame) -> None:
    """Draw each method's changes from the worst class to the best, above their intervals."""
    for method, rows in by_method(changes):
        rows = rows.sort_values("change")
        colour = style.colour(method)
        axis.fill_between(range(len(rows)), rows["low"], rows["high"], color=colour, alpha=0.2, lw=0)
        axis.plot(rows["change"].to_numpy(), color=colour, label=_label(method, rows))
    axis.axhline(0, color="black", lw=0.8)
    axis.set_xlabel("classes, from the largest loss to the largest gain")
    axis.set_ylabel("change of Acc@1 in points")
    _legend(axis)


def _legend(axis: plt.Axes) -> None:
    axis.legend(frameon=False, loc="lower left", bbox_to_anchor=(-0.02, 0.98), ncols=2)


def _label(method: str, rows: pd.DataFrame) -> str:
    strength = names.strength(method_of(method).strength_kind, rows["strength"].iloc[0])
    return f"{style.label(method)}, {strength}"
