"""Theorem 1, measured: the table of margins, variances and the theorem's criterion, and its figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bigain.core.columns import csv_text
from bigain.core.report_specs import ReportSpec
from bigain.methods.ids import method_of
from bigain.metrics.spectral import Response, outside
from bigain.reporting import style
from bigain.reporting.collected import CellScores
from bigain.reporting.rendering import write_table
from bigain.reporting.scores import Scores
from bigain.reporting.spectrum_probe import Arm, Probe, bands_outside, read_probe
from bigain.reporting.tables import arm_columns
from bigain.reporting.theorem_figure import draw


def write_theorem(
    spectra: list[Path],
    cells: list[CellScores],
    spec: ReportSpec,
    tex: Path,
    csv: Path,
    html: Path,
    pdf: Path,
    png: Path,
) -> None:
    """Write the table in three formats and the figure in two."""
    scores = Scores(cells)
    probes = [read_probe(file, scores) for file in spectra]
    context = {
        "spec": spec,
        "images": probes[0].images,
        "draws": probes[0].draws,
        "probes": [(probe, [_row(arm) for arm in probe.arms]) for probe in probes],
    }
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
        "outside": bands_outside(response.response_low, response.response_high),
    }


def _csv(probes: list[Probe]) -> str:
    """Return a line per method and strength, and one for each of its bands."""
    lines = []
    for probe in probes:
        for probed in probe.arms:
            key = {"backbone": probe.backbone, "dataset": probe.dataset} | arm_columns(probed.method, probed.strength)
            lines.append(key | _numbers(probed))
            lines += [key | _band(probed.response, k) for k in range(len(probed.response.response))]
    return csv_text("theorem1", lines)


def _numbers(arm: Arm) -> dict[str, Any]:
    response = arm.response
    return {
        "r": response.before.r,
        "r_after": response.after.r,
        "ratio": response.ratio,
        "ratio_low": response.ratio_low,
        "ratio_high": response.ratio_high,
        "margin_lost_percent": 100 * response.margin_lost,
        "variance_shaved_percent": 100 * response.variance_shaved,
        "variance_modelled_percent": 100 * response.variance_modelled,
        "criterion": "improves" if response.predicts else "does not",
        "accuracy_points": None if arm.accuracy is None else arm.accuracy.value,
        "accuracy_points_low": None if arm.accuracy is None else arm.accuracy.low,
        "accuracy_points_high": None if arm.accuracy is None else arm.accuracy.high,
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
        "response_outside": outside(response.response_low, response.response_high)[k],
    }
