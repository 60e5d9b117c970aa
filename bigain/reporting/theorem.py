"""Theorem 1, measured: a table of margins, variances and the criterion, and a figure of the bands they are made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bigain.core.files import read_json, write_text
from bigain.core.records import read_table, spec_of
from bigain.methods.ids import method_of
from bigain.metrics.accuracy import Estimate
from bigain.metrics.spectral import Moments, Response, moments, respond
from bigain.reporting import names, style
from bigain.reporting.claims import Scores
from bigain.reporting.tables import templates


@dataclass(frozen=True)
class Arm:
    """A method at a strength: what it does to the bands, and to the accuracy of the same study (None if not run)."""

    method: str
    strength: float
    response: Response
    accuracy: Estimate | None

    @property
    def accuracy_moved(self) -> str:
        """`rises`, `falls`, or `too close` if the interval holds zero; `not run` without cells."""
        if self.accuracy is None:
            return "not run"
        if self.accuracy.low > 0:
            return "rises"
        return "falls" if self.accuracy.high < 0 else "too close"

    @property
    def agrees(self) -> str:
        """Whether the criterion foretold the change of accuracy, where there is one."""
        if self.accuracy_moved in ("too close", "not run"):
            return self.accuracy_moved
        return "yes" if self.response.predicts == (self.accuracy_moved == "rises") else "no"


@dataclass(frozen=True)
class Probe:
    """A backbone and data set: the uncompressed model's moments and every arm."""

    backbone: str
    dataset: str
    images: int
    draws: int
    full: Moments
    arms: list[Arm]

    @property
    def title(self) -> str:
        """For print."""
        return f"{self.backbone}, {self.dataset}"

    @property
    def covariance(self) -> float:
        """The part of sigma^2 that the weak-correlation approximation leaves out: 1 - sum sigma_k^2 / sigma^2."""
        return 1 - float(self.full.variance_k.sum()) / self.full.variance


def read_probe(file: Path, scores: Scores) -> Probe:
    """What a probe's records say, beside the accuracies of the study's cells.

    Raises ValueError naming the file if it does not start with the uncompressed model or holds no finite numbers.
    """
    spec, frame = spec_of(file), read_table(file).to_pandas()
    bands = [f"band_{k}" for k in range(spec["bands"])]
    if not np.isfinite(frame[bands].to_numpy()).all():
        raise ValueError(f"{file}: a paired difference is no finite number")
    arms = {
        (method, None if np.isnan(strength) else strength): part
        for (method, strength), part in frame.groupby(["method", "strength"], sort=False, dropna=False)
    }
    if next(iter(arms)) != ("none", None):
        raise ValueError(f"{file}: its first arm has to be the uncompressed model")
    images = frame["image"].nunique()
    differences = {key: part[bands].to_numpy().reshape(images, -1, len(bands)) for key, part in arms.items()}
    backbone, dataset = spec["backbone"]["id"], spec["dataset"]["id"]
    before = differences.pop(("none", None))
    found = [
        Arm(*key, respond(before, after, spec["seed"]), _accuracy(scores, backbone, dataset, *key))
        for key, after in differences.items()
    ]
    return Probe(backbone, dataset, images, before.shape[1], moments(before), found)


def _accuracy(scores: Scores, backbone: str, dataset: str, method: str, strength: float) -> Estimate | None:
    ours = ("acc@1", backbone, dataset, method, strength)
    full = ("acc@1", backbone, dataset, "none", None)
    return scores.lead(ours, full)[0] if scores.has(ours) and scores.has(full) else None


def write_theorem(
    spectra: list[Path],
    metrics: list[Path],
    spec: dict[str, Any],
    tex: Path,
    csv: Path,
    html: Path,
    pdf: Path,
    png: Path,
) -> None:
    """The table in three forms and the figure in two."""
    scores = Scores([read_json(file) for file in metrics], spec["backbones"])
    probes = [read_probe(file, scores) for file in spectra]
    context = {"spec": spec, "probes": [(probe, [_row(arm) for arm in probe.arms]) for probe in probes]}
    write_text(csv, _csv(probes))
    write_text(tex, templates().get_template("theorem1.tex.j2").render(context))
    write_text(html, templates().get_template("theorem1.html.j2").render(context))
    with plt.rc_context(style.SETTINGS):
        style.save(draw(probes), pdf, png)


def _row(arm: Arm) -> dict[str, Any]:
    method, found = method_of(arm.method), arm.response
    return {
        "label": method.label,
        "strength": names.strength(method.strength_kind, arm.strength),
        "margin_lost": 100 * found.margin_lost,
        "variance_shaved": 100 * found.variance_shaved,
        "variance_modelled": 100 * found.variance_modelled,
        "predicts": found.predicts,
        "ratio": found.ratio,
        "ratio_low": found.ratio_low,
        "ratio_high": found.ratio_high,
        "accuracy": arm.accuracy,
        "agrees": arm.agrees,
    }


def _csv(probes: list[Probe]) -> str:
    """A line a method and band, which repeats what is of the method."""
    lines = [
        {"backbone": probe.backbone, "dataset": probe.dataset, **_numbers(arm), **_band(arm.response, k)}
        for probe in probes
        for arm in probe.arms
        for k in range(len(arm.response.response))
    ]
    return pd.DataFrame(lines).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def _numbers(arm: Arm) -> dict[str, Any]:
    found = arm.response
    return {
        "method": arm.method,
        "strength": arm.strength,
        "r": found.before.r,
        "r_after": found.after.r,
        "ratio": found.ratio,
        "ratio_low": found.ratio_low,
        "ratio_high": found.ratio_high,
        "margin_lost": found.margin_lost,
        "variance_shaved": found.variance_shaved,
        "variance_modelled": found.variance_modelled,
        "criterion": "improves" if found.predicts else "does not",
        "accuracy_change": None if arm.accuracy is None else arm.accuracy.value,
        "accuracy_low": None if arm.accuracy is None else arm.accuracy.low,
        "accuracy_high": None if arm.accuracy is None else arm.accuracy.high,
        "foretold": arm.agrees,
    }


def _band(found: Response, k: int) -> dict[str, float]:
    return {
        "band": k,
        "mu_k": found.before.mu_k[k],
        "mu_k_after": found.after.mu_k[k],
        "sigma_k": np.sqrt(found.before.variance_k[k]),
        "sigma_k_after": np.sqrt(found.after.variance_k[k]),
        "response": found.response[k],
        "response_low": found.response_low[k],
        "response_high": found.response_high[k],
    }


def draw(probes: list[Probe]) -> plt.Figure:
    """A row a probe: what share of mu and of sigma^2 each band holds, and H_P(k) of every method at its highest
    strength; a band without a clear margin has no response."""
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
    highest: dict[str, Arm] = {}
    for arm in probe.arms:
        if arm.method not in highest or arm.strength > highest[arm.method].strength:
            highest[arm.method] = arm
    for place, arm in enumerate(highest.values()):
        found = arm.response
        bands = np.arange(len(found.response)) + 0.7 * (place / max(1, len(highest) - 1) - 0.5)
        errors = np.stack([found.response - found.response_low, found.response_high - found.response])
        axis.errorbar(
            bands,
            found.response,
            yerr=errors.clip(min=0),
            color=style.COLOURS[arm.method],
            marker=style.MARKERS[arm.method],
            markersize=4,
            lw=0,
            elinewidth=0.7,
            label=f"{style.label(arm.method)} {names.strength(method_of(arm.method).strength_kind, arm.strength)}",
        )
    axis.axhline(1, color="black", lw=0.8)
    axis.set_xlabel("band k, low to high frequency")
    axis.set_ylabel(r"response $H_P(k) = \mu_k' / \mu_k$")
    axis.set_xticks(range(len(probe.full.mu_k)))
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
