"""The change of accuracy class by class, which a mean hides: who pays for compression?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bigain.core.files import read_json
from bigain.methods.ids import method_of
from bigain.reporting import names, style

NAMED = 40  # classes that have room for their names; of more, only the sorted changes are drawn
SHOWN = ("tome", "bigain_tm", "todo", "bigain_td")


def write_class_changes(metrics: list[Path], pdf: Path, png: Path) -> None:
    """Per class, Acc@1 minus the uncompressed model's, in points: each shown method at its highest strength."""
    changes = class_changes([read_json(file) for file in metrics])
    panels = list(changes.groupby(["backbone", "dataset"], sort=False))
    if not panels:
        style.save(style.message("This study has no compressed single-label cells."), pdf, png)
        return
    with plt.rc_context(style.SETTINGS):
        heights = [max(2.5, 0.22 * min(part["class"].nunique(), NAMED)) for _, part in panels]
        figure, axes = plt.subplots(
            len(panels), 1, figsize=(7, sum(heights) + 0.8 * len(panels)), squeeze=False, height_ratios=heights
        )
        for axis, ((backbone, dataset), part) in zip(axes[:, 0], panels, strict=True):
            draw = _named if part["class"].nunique() <= NAMED else _sorted
            draw(axis, part)
            axis.set_title(f"{backbone}, {dataset}", loc="left")
            axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        figure.tight_layout()
    style.save(figure, pdf, png)


def class_changes(scored: list[dict[str, Any]]) -> pd.DataFrame:
    """A row a backbone, data set, method and class: `change` of Acc@1 in points against the uncompressed model on the
    same images, at the method's highest strength, averaged over seeds; `images` of that class."""
    by_class: dict[tuple, list[pd.Series]] = {}
    counts: dict[tuple, pd.Series] = {}
    for entry in scored:
        cell, items = entry["cell"], entry["items"]
        if "label" in items:
            known = np.array(entry["classes"])[items["label"]]
            hits = pd.Series(items["acc@1"], dtype=float).groupby(known)
            key = (cell["backbone"], cell["dataset"], cell["method"], cell["strength"])
            by_class.setdefault(key, []).append(100 * hits.mean())
            counts[key] = hits.count()
    rows = []
    for backbone, dataset, method in dict.fromkeys(key[:3] for key in by_class if key[2] in SHOWN):
        strength = max(key[3] for key in by_class if key[:3] == (backbone, dataset, method))
        plain, ours = (backbone, dataset, "none", None), (backbone, dataset, method, strength)
        if plain in by_class:
            change = sum(by_class[ours]) / len(by_class[ours]) - sum(by_class[plain]) / len(by_class[plain])
            shown = names.strength(method_of(method).strength_kind, strength)
            own = {"backbone": backbone, "dataset": dataset, "method": method, "strength": shown}
            rows += [own | {"class": c, "change": v, "images": counts[ours][c]} for c, v in change.items()]
    return pd.DataFrame(rows, columns=["backbone", "dataset", "method", "strength", "class", "change", "images"])


def _named(axis: plt.Axes, part: pd.DataFrame) -> None:
    """A row a class, the one that loses most on top; a marker a method."""
    order = part.groupby("class")["change"].mean().sort_values(ascending=False).index.tolist()
    for method, mine in part.groupby("method", sort=False):
        y = mine["class"].map(order.index)
        text = f"{style.label(method)}, {mine['strength'].iloc[0]}"
        axis.plot(mine["change"], y, style.MARKERS[method], color=style.COLOURS[method], ms=5, label=text)
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(range(len(order)), order)
    axis.grid(axis="y", color="#eeeeee")
    axis.set_xlabel("change of Acc@1 in points")


def _sorted(axis: plt.Axes, part: pd.DataFrame) -> None:
    """Each method's changes from the worst class to the best."""
    for method, mine in part.groupby("method", sort=False):
        text = f"{style.label(method)}, {mine['strength'].iloc[0]}"
        axis.plot(np.sort(mine["change"]), color=style.COLOURS[method], label=text)
    axis.axhline(0, color="black", lw=0.8)
    axis.set_xlabel("classes, from the one that loses most")
    axis.set_ylabel("change of Acc@1 in points")
