"""Theorem 1, measured: read the probes of paired class differences, and write the table of the theorem's criterion.

`theorem_figure` draws the bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bigain.core.files import read_json
from bigain.core.records import read_table, spec_of
from bigain.methods.ids import method_of
from bigain.metrics.accuracy import Estimate
from bigain.metrics.spectral import Moments, Response, moments, respond
from bigain.reporting import names
from bigain.reporting.frames import CellMetric, optional
from bigain.reporting.rendering import write_table
from bigain.reporting.scores import Scores


@dataclass(frozen=True)
class Arm:
    """A method at a strength: its effect on the bands, and on the study's accuracy (None if that was not run)."""

    method: str
    strength: float
    response: Response
    accuracy: Estimate | None

    @property
    def accuracy_moved(self) -> str:
        """`rises` or `falls` if the interval excludes zero, else `not significant`; `not run` without cells."""
        if self.accuracy is None:
            return "not run"
        if self.accuracy.low > 0:
            return "rises"
        return "falls" if self.accuracy.high < 0 else "not significant"

    @property
    def agrees(self) -> str:
        """Whether the criterion predicted the change of accuracy (`yes`, `no`), where there is a significant one."""
        if self.accuracy_moved in ("not significant", "not run"):
            return self.accuracy_moved
        return "yes" if self.response.predicts == (self.accuracy_moved == "rises") else "no"

    @property
    def strength_label(self) -> str:
        """The strength, for print."""
        return names.strength(method_of(self.method).strength_kind, self.strength)


@dataclass(frozen=True)
class Probe:
    """A probed backbone and data set: the uncompressed model's moments, and every method at every strength."""

    backbone: str
    dataset: str
    images: int
    draws: int
    full: Moments
    arms: list[Arm]

    @property
    def title(self) -> str:
        """Backbone and data set, for print."""
        return f"{self.backbone}, {self.dataset}"

    @property
    def covariance(self) -> float:
        """1 - sum sigma_k^2 / sigma^2: the part of sigma^2 that the weak-correlation approximation neglects."""
        return 1 - float(self.full.variance_k.sum()) / self.full.variance


def read_probe(file: Path, scores: Scores) -> Probe:
    """Read a probe's paired differences and join them with the accuracies of the study's cells.

    Raises ValueError naming the file if it does not start with the uncompressed model or holds numbers that are not
    finite.
    """
    spec, frame = spec_of(file), read_table(file).to_pandas()
    bands = [f"band_{k}" for k in range(spec["bands"])]
    if not np.isfinite(frame[bands].to_numpy()).all():
        raise ValueError(f"{file}: a paired difference is not finite")
    images = frame["image"].nunique()
    differences = {
        (str(method), optional(strength)): rows[bands].to_numpy().reshape(images, -1, len(bands))
        for (method, strength), rows in frame.groupby(["method", "strength"], sort=False, dropna=False)
    }
    if next(iter(differences)) != ("none", None):
        raise ValueError(f"{file}: its first arm has to be the uncompressed model")
    before = differences.pop(("none", None))
    uncompressed = CellMetric("acc@1", spec["backbone"]["id"], spec["dataset"]["id"], "none", None)
    arms = []
    for (method, strength), after in differences.items():
        if strength is None:
            raise ValueError(f"{file}: {method} has no strength")
        response = respond(before, after, spec["seed"])
        cell = uncompressed._replace(method=method, strength=strength)
        known = cell in scores and uncompressed in scores
        arms.append(Arm(method, strength, response, scores.improvement(cell, uncompressed)[0] if known else None))
    return Probe(uncompressed.backbone, uncompressed.dataset, images, before.shape[1], moments(before), arms)


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
    """Write the table in three formats and the figure in two."""
    from bigain.reporting import style
    from bigain.reporting.theorem_figure import draw

    scores = Scores([read_json(file) for file in metrics])
    probes = [read_probe(file, scores) for file in spectra]
    context = {"spec": spec, "probes": [(probe, [_row(arm) for arm in probe.arms]) for probe in probes]}
    write_table("theorem1", context, _csv(probes), tex, csv, html)
    with style.look():
        style.save(draw(probes), pdf, png)


def _row(arm: Arm) -> dict[str, Any]:
    response = arm.response
    return {
        "label": method_of(arm.method).label,
        "strength": arm.strength_label,
        "margin_lost": 100 * response.margin_lost,
        "variance_shaved": 100 * response.variance_shaved,
        "variance_modelled": 100 * response.variance_modelled,
        "predicts": response.predicts,
        "ratio": response.ratio,
        "ratio_low": response.ratio_low,
        "ratio_high": response.ratio_high,
        "accuracy": arm.accuracy,
        "agrees": arm.agrees,
    }


def _csv(probes: list[Probe]) -> str:
    """Return a line per method and band; the method's own numbers are repeated."""
    lines = [
        {"backbone": probe.backbone, "dataset": probe.dataset, **_numbers(arm), **_band(arm.response, k)}
        for probe in probes
        for arm in probe.arms
        for k in range(len(arm.response.response))
    ]
    return pd.DataFrame(lines).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def _numbers(arm: Arm) -> dict[str, Any]:
    response = arm.response
    return {
        "method": arm.method,
        "strength": arm.strength,
        "r": response.before.r,
        "r_after": response.after.r,
        "ratio": response.ratio,
        "ratio_low": response.ratio_low,
        "ratio_high": response.ratio_high,
        "margin_lost": response.margin_lost,
        "variance_shaved": response.variance_shaved,
        "variance_modelled": response.variance_modelled,
        "criterion": "improves" if response.predicts else "does not",
        "accuracy_change": None if arm.accuracy is None else arm.accuracy.value,
        "accuracy_low": None if arm.accuracy is None else arm.accuracy.low,
        "accuracy_high": None if arm.accuracy is None else arm.accuracy.high,
        "foretold": arm.agrees,
    }


def _band(response: Response, k: int) -> dict[str, float]:
    return {
        "band": k,
        "mu_k": response.before.mu_k[k],
        "mu_k_after": response.after.mu_k[k],
        "sigma_k": np.sqrt(response.before.variance_k[k]),
        "sigma_k_after": np.sqrt(response.after.variance_k[k]),
        "response": response.response[k],
        "response_low": response.response_low[k],
        "response_high": response.response_high[k],
    }
