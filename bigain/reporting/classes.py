"""Per-class change of accuracy, which a mean over classes hides: which classes pay for compression?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bigain.core.columns import csv_text
from bigain.core.files import write_text
from bigain.methods.ids import method_of
from bigain.reporting import names, style
from bigain.reporting.collected import CellScores
from bigain.reporting.frames import CellMetric, by_method, groups, records
from bigain.reporting.tables import arm_rows

NAMED = 40  # the most classes whose names fit; of more, only the sorted changes are drawn
KEYS = ("backbone", "dataset", "method", "strength")
NUMBERS = ("accuracy", "accuracy_uncompressed", "change", "images")
SHOWN = ("tome", "bigain_tm", "todo", "bigain_td")


class ClassAccuracy(NamedTuple):
    """Acc@1 of every class in percent, and the number of its images."""

    accuracy: pd.Series
    images: pd.Series


def write_class_changes(cells: list[CellScores], pdf: Path, png: Path, csv: Path) -> None:
    """Draw every class's Acc@1 minus the uncompressed model's, in points, each shown method at its highest strength.

    The numbers are also written as CSV.
    """
    changes = class_changes(cells)
    write_text(csv, csv_text("classes", arm_rows(changes)))
    panels = groups(changes, ["backbone", "dataset"])
    if not panels:
        style.save(style.message("This study has no compressed single-label cells."), pdf, png)
        return
    with style.look():
        heights = [max(2.5, 0.22 * min(rows["class"].nunique(), NAMED)) for _, rows in panels]
        figure, axes = plt.subplots(
            len(panels), 1, figsize=(7, sum(heights) + 0.8 * len(panels)), squeeze=False, height_ratios=heights
        )
        for axis, ((backbone, dataset), rows) in zip(axes[:, 0], panels, strict=True):
            draw = _draw_named if rows["class"].nunique() <= NAMED else _draw_sorted
            draw(axis, rows)
            axis.set_title(f"{backbone}, {dataset}", loc="left")
            axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        figure.tight_layout()
    style.save(figure, pdf, png)


def class_changes(cells: list[CellScores]) -> pd.DataFrame:
    """Return a row per backbone, data set, method (at its highest strength) and class, averaged over seeds.

    Columns: `accuracy`, `accuracy_uncompressed` on the same images, `change` in points, and the class's `images`.
    """
    seeds: dict[CellMetric, list[ClassAccuracy]] = {}
    for scored in cells:
        cell, items = scored["cell"], scored["items"]
        if "label" in items:
            key = CellMetric("acc@1", cell["backbone"], cell["dataset"], cell["method"], cell["strength"])
            seeds.setdefault(key, []).append(_class_accuracy(items, scored["classes"]))
    rows: list[dict[str, Any]] = []
    for ours in _at_highest_strength([cell for cell in seeds if cell.method in SHOWN]):
        uncompressed = ours._replace(method="none", strength=None)
        if uncompressed in seeds:
            columns = {"accuracy": _mean(seeds[ours]), "accuracy_uncompressed": _mean(seeds[uncompressed])}
            columns["change"] = columns["accuracy"] - columns["accuracy_uncompressed"]
            columns["images"] = seeds[ours][-1].images
            place = {name: getattr(ours, name) for name in KEYS}
            numbers = pd.DataFrame(columns).rename_axis("class").reset_index()
            rows += [place | row for row in records(numbers)]
    return pd.DataFrame(rows, columns=[*KEYS, "class", *NUMBERS])


def _at_highest_strength(cells: list[CellMetric]) -> list[CellMetric]:
    """Return the cell of the highest strength of every backbone, data set and method."""
    highest: dict[CellMetric, CellMetric] = {}
    for cell in cells:
        best = highest.setdefault(cell._replace(strength=None), cell)
        if (cell.strength or 0) > (best.strength or 0):
            highest[cell._replace(strength=None)] = cell
    return list(highest.values())


def _class_accuracy(items: dict[str, Any], classes: list[str]) -> ClassAccuracy:
    hits = pd.Series(items["acc@1"], dtype=float).groupby(np.array(classes)[items["label"]])
    return ClassAccuracy(100 * hits.mean(), hits.count())


def _mean(seeds: list[ClassAccuracy]) -> pd.Series:
    total = seeds[0].accuracy
    for seed in seeds[1:]:
        total = total + seed.accuracy
    return total / len(seeds)


def _draw_named(axis: plt.Axes, changes: pd.DataFrame) -> None:
    """Draw a row per class, the one that loses most on top, and a marker per method."""
    order = changes.groupby("class")["change"].mean().sort_values(ascending=False).index.tolist()
    for method, rows in by_method(changes):
        y = rows["class"].map(order.index)
        axis.plot(
            rows["change"], y, style.MARKERS[method], color=style.COLOURS[method], ms=5, label=_label(method, rows)
        )
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(range(len(order)), order)
    axis.grid(axis="y", color="#eeeeee")
    axis.set_xlabel("change of Acc@1 in points")


def _draw_sorted(axis: plt.Axes, changes: pd.DataFrame) -> None:
    """Draw each method's changes from the worst class to the best."""
    for method, rows in by_method(changes):
        axis.plot(np.sort(rows["change"]), color=style.COLOURS[method], label=_label(method, rows))
    axis.axhline(0, color="black", lw=0.8)
    axis.set_xlabel("classes, from the largest loss to the largest gain")
    axis.set_ylabel("change of Acc@1 in points")


def _label(method: str, rows: pd.DataFrame) -> str:
    strength = names.strength(method_of(method).strength_kind, rows["strength"].iloc[0])
    return f"{style.label(method)}, {strength}"
