"""The reliability figure: confidence against accuracy, before and after calibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bigain.core.rounding import rounded

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bigain.metrics.calibration import Reliability


def reliability_figure(panels: Mapping[str, Mapping[str, Reliability]]) -> Figure:
    """Return a figure with a panel per title. A panel shows each label's ECE and its reliability, as points whose area
    is the share of images in the bin."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(panels), 3.6), layout="constrained")
    for axes, (title, curves) in zip(np.ravel(figure.subplots(1, len(panels))), panels.items(), strict=True):
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        for (label, curve), colour in zip(curves.items(), ("#D55E00", "#0072B2", "#009E73"), strict=False):
            _draw(axes, curve, f"{label}: ECE {rounded(100 * curve.ece, 1)}%", colour)
        axes.set(title=title, xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.legend(loc="lower right", fontsize=8)
    return figure


def _draw(axes: Axes, curve: Reliability, label: str, colour: str) -> None:
    share = curve.bins["images"] / curve.bins["images"].sum()
    axes.plot(curve.bins["confidence"], curve.bins["accuracy"], color=colour, linewidth=0.8)
    axes.scatter(curve.bins["confidence"], curve.bins["accuracy"], s=300 * share + 10, color=colour, label=label)
