"""How things are called in print."""

from __future__ import annotations

import math
import re
from typing import Any

import pandas as pd

MISSING = "\N{EN DASH}"
METRICS = {
    "acc@1": ("Acc@1 (%)", "higher"),
    "map": ("mAP (%)", "higher"),
    "map_released": ("mAP, released ranking (%)", "higher"),
    "map_macro": ("mAP over classes (%)", "higher"),
    "fd": ("FD (fashion-net)", "lower"),
    "fid": ("FID", "lower"),
    "kid": ("KID x 1000", "lower"),
    "precision": ("precision (%)", "higher"),
    "recall": ("recall (%)", "higher"),
}
DISTANCES = ("fid", "fd")  # Fréchet, of whichever network
SHORT = {  # where there is little room
    "acc@1": "Acc@1",
    "map": "mAP",
    "map_released": "mAP, rel.",
    "map_macro": "mAP, cl.",
    "fd": "FD",
    "fid": "FID",
    "kid": "KID",
    "precision": "prec.",
    "recall": "recall",
}
MAPS = {"per_image": "map", "per_image_released": "map_released", "macro": "map_macro"}  # as a config names them
STRENGTHS = {
    "merge_ratio": "merge ratio",
    "downsample_factor": "factor",
    "flops_reduction_percent": "fewer operations",
}


def shown(results: pd.DataFrame, spec: dict[str, Any]) -> pd.DataFrame:
    """The results without the mAPs that the study's config does not show."""
    hidden = [metric for name, metric in MAPS.items() if name not in spec["classification"]["map"]]
    return results[~results["metric"].isin(hidden)]


def latex(text: str) -> str:
    """Escape for LaTeX; `BiGain_TM` gets its subscript."""
    escaped = re.sub(r"([%&#$])", r"\\\1", text)
    return re.sub(r"_([A-Z]+)", r"\\textsubscript{\1}", escaped).replace("_", r"\_")


def html(text: str) -> str:
    """Escape for HTML; `BiGain_TM` gets its subscript."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"_([A-Z]+)", r"<sub>\1</sub>", escaped)


def fixed(value: float, digits: int) -> str:
    """A number with that many digits behind the point; what is missing is a dash."""
    return MISSING if math.isnan(value) else f"{value:.{digits}f}"


def strength(kind: str, value: float) -> str:
    """A strength as a column head: `0.7` of the tokens merged, `2x` fewer keys an axis, `10%` fewer operations."""
    unit = {"downsample_factor": "x", "flops_reduction_percent": "%"}.get(kind, "")
    return f"{value:g}{unit}"
