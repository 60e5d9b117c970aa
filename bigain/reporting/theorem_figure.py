"""Figure of Theorem 1: share of mu and sigma^2 in every band, and the response H_P(k) of every method."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from bigain.reporting import style
from bigain.reporting.spectrum_probe import Arm, Probe


def draw(probes: list[Probe]) -> plt.Figure:
    """Draw a row of panels per probe: shares of the bands, and responses with every method at its highest strength."""
    figure, axes = plt.subplots(len(probes), 2, figsize=(8, 2.9 * len(probes)), squeeze=False)
    for (left, right), probe in zip(axes, probes, strict=True):
        _shares(left, probe)
        _responses(right, probe)
    figure.tight_layout()
    return figure


def _shares(axis: plt.Axes, probe: Probe) -> None:
    bands = np.arange(len(probe.full.mu_k))
    axis.bar(bands - 0.2, 100 * probe.full.mu_k / probe.full.mu, 0.38, color="#0072B2", label=r"of the margin $\mu$")
    share = 100 * probe.full.variance_k / probe.full.variance_k.sum()
    axis.bar(bands + 0.2, share, 0.38, color="#E69F00", label=r"of the variance $\sum\sigma_k^2$")
    axis.axhline(0, color="black", lw=0.8)
    axis.set_title(probe.title, loc="left")
    axis.set_xlabel("band k, low to high frequency")
    axis.set_ylabel("share of band k (%)")
    axis.set_xticks(bands)
    axis.legend(frameon=False)


def _responses(axis: plt.Axes, probe: Probe) -> None:
    """Draw H_P(k) with its interval; a band whose margin is not clearly above zero has none."""
    highest: dict[str, Arm] = {}
    for arm in probe.arms:
        if arm.method not in highest or arm.strength > highest[arm.method].strength:
            highest[arm.method] = arm
    for place, arm in enumerate(highest.values()):
        response = arm.response
        bands = np.arange(len(response.response)) + 0.7 * (place / max(1, len(highest) - 1) - 0.5)
        errors = np.stack([response.response - response.response_low, response.response_high - response.response])
        axis.errorbar(
            bands,
            response.response,
            yerr=errors.clip(min=0),
            color=style.colour(arm.method),
            marker=style.marker(arm.method),
            markersize=4,
            lw=0,
            elinewidth=0.7,
            label=f"{style.label(arm.method)} {arm.strength_label}",
        )
    axis.axhline(1, color="black", lw=0.8)
    axis.set_xlabel("band k, low to high frequency")
    axis.set_ylabel(r"response $H_P(k) = \mu_k' / \mu_k$")
    axis.set_xticks(range(len(probe.full.mu_k)))
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
