"""Names of metrics and strengths in print, and how text, p-values and strengths are formatted."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import pandas as pd

from bigain.core.report_specs import ReportSpec

MISSING = "\N{EN DASH}"


class Metric(NamedTuple):
    """A metric in print: its label, a short label for narrow columns, and whether `higher` or `lower` is better."""

    label: str
    short: str
    better: str


METRICS = {
    "acc@1": Metric("Acc@1 (%)", "Acc@1", "higher"),
    "map": Metric("mAP (%)", "mAP", "higher"),
    "map_released": Metric("mAP, released ranking (%)", "mAP, rel.", "higher"),
    "map_macro": Metric("mAP over classes (%)", "mAP, cl.", "higher"),
    "fd": Metric("FD (fashion-net)", "FD", "lower"),
    "fid": Metric("FID", "FID", "lower"),
    "fd_inf": Metric("FD of infinitely many images", "FD inf.", "lower"),
    "fid_inf": Metric("FID of infinitely many images", "FID inf.", "lower"),
    "kid": Metric("KID x 1000", "KID", "lower"),
    "precision": Metric("precision (%)", "prec.", "higher"),
    "recall": Metric("recall (%)", "recall", "higher"),
}
QUANTITIES = {  # labels of what the paper's tables print besides metrics
    "gflops": "GFLOPs",
    "saved_percent": "operations saved (%)",
    "keys_saved_percent": "keys saved (%)",
    "seconds_per_batch": "seconds per batch",
    "acceleration_percent": "time saved (%)",
}
BY_IMAGE = ("acc@1", "map", "map_released")  # metrics that are means over images
DISTANCES = ("fid", "fd")  # Fréchet distances, with features of either network
MAPS = {"per_image": "map", "per_image_released": "map_released", "macro": "map_macro"}  # by their names in a config
STRENGTHS = {
    "merge_ratio": "merge ratio",
    "threshold": "threshold",
    "downsample_factor": "factor",
    "flops_reduction_percent": "fewer operations",
}


def metric_label(metric: str) -> str:
    """Return the label of a metric or of another quantity."""
    return METRICS[metric].label if metric in METRICS else QUANTITIES[metric]


def without_hidden_maps(results: pd.DataFrame, spec: ReportSpec) -> pd.DataFrame:
    """Drop the variants of mAP that the study's config does not show."""
    hidden = [metric for name, metric in MAPS.items() if name not in spec["classification"]["map"]]
    return results[~results["metric"].isin(hidden)]


def latex(text: str) -> str:
    """Escape for LaTeX; `BiGain_TM` gets its subscript."""
    escaped = re.sub(r"([%&#$])", r"\\\1", text).replace("<", "$<$")
    return re.sub(r"_([A-Z]+)", r"\\textsubscript{\1}", escaped).replace("_", r"\_")


def html(text: str) -> str:
    """Escape for HTML; `BiGain_TM` gets its subscript."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"_([A-Z]+)", r"<sub>\1</sub>", escaped)


def p_value(value: float | None) -> str:
    """Format a p-value with three decimals."""
    if value is None:
        return MISSING
    return "<.001" if value < 0.0005 else f"{value:.3f}"


def strength(kind: str, value: float | None) -> str:
    """Format a strength: merge ratio `0.7`, downsampling factor `2x`, `10%` fewer operations, empty if missing."""
    if value is None or math.isnan(value):
        return ""
    unit = {"downsample_factor": "x", "flops_reduction_percent": "%"}.get(kind, "")
    return f"{value:g}{unit}"
