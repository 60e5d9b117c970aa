"""How things are called in print."""

from __future__ import annotations

import re

METRICS = {
    "acc@1": ("Acc@1 (%)", "higher"),
    "map": ("mAP (%)", "higher"),
    "fd": ("FD (fashion-net)", "lower"),
    "fid": ("FID", "lower"),
}
STRENGTHS = {"merge_ratio": "merge ratio", "downsample_factor": "factor"}


def latex(text: str) -> str:
    """Escape for LaTeX; `BiGain_TM` gets its subscript."""
    escaped = re.sub(r"([%&#$])", r"\\\1", text)
    return re.sub(r"_([A-Z]+)", r"\\textsubscript{\1}", escaped).replace("_", r"\_")


def html(text: str) -> str:
    """Escape for HTML; `BiGain_TM` gets its subscript."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"_([A-Z]+)", r"<sub>\1</sub>", escaped)


def strength(kind: str, value: float) -> str:
    """A strength as a column head: `0.7` of the tokens merged, `2x` fewer keys an axis."""
    return f"{value:g}x" if kind == "downsample_factor" else f"{value:g}"
