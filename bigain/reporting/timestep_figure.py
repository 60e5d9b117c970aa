"""Figure of "Where in t is the class?": accuracy over t of every model, and how compression changes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bigain.metrics.timestep_weights import T
from bigain.reporting import style
from bigain.reporting.timestep_profiles import UNCOMPRESSED, CompressedArm, TimestepProfile

SHOWN = ("tome", "bigain_tm", "todo", "bigain_td")  # drawn first
MOST = 4  # compressed methods of a panel
COLUMNS = 3
GREY = "#777777"
ENDS = ("difference_low", "difference_high")  # of the intervals in the lower panels, which share their limits
MARGIN = 2  # points above and below the intervals
CHANCE, LEFT_OUT = "chance", "left out"


def draw(profiles: Sequence[TimestepProfile]) -> plt.Figure:
    """Draw two panels for every backbone and data set, above each other: Acc@1 by timestep, and paired differences."""
    columns = min(len(profiles), COLUMNS)
    blocks = -(-len(profiles) // COLUMNS)
    figure = plt.figure(figsize=(3.6 * columns, 4.8 * blocks), layout="constrained")
    axes = figure.subplots(2 * blocks, columns, squeeze=False, height_ratios=[3, 2] * blocks)
    for axis in axes.flat:
        axis.set_axis_off()
    ends = [arm.rows[name] for each in profiles for arm in shown_arms(each) for name in ENDS]
    limits = np.nanmin([0, *(each.min() for each in ends)]), np.nanmax([0, *(each.max() for each in ends)])
    for number, profile in enumerate(profiles):
        block, column = divmod(number, COLUMNS)
        upper, lower = axes[2 * block : 2 * block + 2, column]
        arms = shown_arms(profile)
        _accuracies(upper, profile, arms)
        _differences(lower, arms)
        lower.set_ylim(limits[0] - MARGIN, limits[1] + MARGIN)
        _legend(lower, upper)
        if column == 0:
            upper.set_ylabel("Acc@1 (%) at one timestep")
            lower.set_ylabel("change from\nuncompressed (points)")
    return figure


def shown_arms(profile: TimestepProfile) -> list[CompressedArm]:
    """Return the compressed arms that are drawn: presets at their highest strength, at most `MOST`."""
    highest = {arm.method: arm for arm in profile.arms if arm.is_preset}  # strengths rise
    first = [highest[method] for method in SHOWN if method in highest]
    return [*first, *(arm for method, arm in highest.items() if method not in SHOWN)][:MOST]


def _accuracies(axis: plt.Axes, profile: TimestepProfile, arms: Sequence[CompressedArm]) -> None:
    axis.set_axis_on()
    axis.set_title(f"{profile.backbone}, {profile.dataset}: {profile.images} images", loc="left")
    axis.axhline(100 / profile.classes, color=GREY, ls=":", lw=1, label=CHANCE)
    rows = profile.uncompressed
    if len(rows):
        axis.fill_between(rows["t"], rows["low"], rows["high"], color="black", alpha=0.15, lw=0)
        ends = _ends(rows, "accuracy", "low", "high") if len(rows) == 1 else None  # a band has no width there
        look: dict[str, Any] = {"color": "black", "marker": ".", "lw": 1.8, "elinewidth": 1}
        axis.errorbar(rows["t"], rows["accuracy"], yerr=ends, label=style.label(UNCOMPRESSED), zorder=3, **look)
    for arm in arms:
        look = {"color": style.colour(arm.method), "marker": style.marker(arm.method), "ms": 3, "lw": 0.9}
        axis.plot(arm.rows["t"], arm.rows["accuracy"], label=_label(arm), **look)
    if profile.left_out:
        places = np.array(sorted(profile.left_out))
        base = axis.get_xaxis_transform()
        axis.plot(places, np.full(len(places), 0.025), "|", color=GREY, ms=5, transform=base, label=LEFT_OUT)
    axis.set_ylim(0, 100)
    axis.set_xlim(0, T)
    axis.tick_params(labelbottom=False)


def _differences(axis: plt.Axes, arms: Sequence[CompressedArm]) -> None:
    axis.set_axis_on()
    axis.axhline(0, color="black", lw=0.8)
    compared = [arm for arm in arms if arm.rows["difference"].notna().any()]
    for place, arm in enumerate(compared):
        rows = arm.rows.dropna(subset="difference")
        look: dict[str, Any] = {"color": style.colour(arm.method), "marker": style.marker(arm.method), "ms": 3}
        shift = 12 * (place - (len(compared) - 1) / 2)  # of t, so that intervals lie beside each other
        ends = _ends(rows, "difference", *ENDS)
        axis.errorbar(rows["t"] + shift, rows["difference"], yerr=ends, lw=0.9, elinewidth=0.8, **look)
    if not compared:
        axis.text(0.5, 0.6, "no compressed model to compare", ha="center", color=GREY, transform=axis.transAxes)
        axis.set_yticks([])
    axis.set_xlim(0, T)
    axis.set_xlabel("timestep t (0: image, 999: noise)")


def _legend(axis: plt.Axes, of: plt.Axes) -> None:
    """Put the legend of one panel below another: the uncompressed model first, and what is not a model last."""
    handles, labels = of.get_legend_handles_labels()
    first, last = style.label(UNCOMPRESSED), (CHANCE, LEFT_OUT)
    order = sorted(range(len(labels)), key=lambda k: (labels[k] in last) - (labels[k] == first))
    shown = [handles[k] for k in order], [labels[k] for k in order]
    axis.legend(*shown, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.3))


def _ends(rows: pd.DataFrame, value: str, low: str, high: str) -> np.ndarray:
    """Return the distances of a number from the ends of its interval, as matplotlib draws them."""
    return np.stack([rows[value] - rows[low], rows[high] - rows[value]]).clip(min=0)


def _label(arm: CompressedArm) -> str:
    return f"{style.label(arm.method)}, {arm.strength_label}".rstrip(", ")
