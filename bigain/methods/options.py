"""Keyword arguments of `bigain.apply` and `bigain.compressed`, typed for callers that pass them on. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypedDict

from bigain.methods.method import Task
from bigain.methods.schedules import Varying

MetricSite = Literal["block_input", "norm1_output"]


class Strength(TypedDict, total=False):
    """Strength of a method: a merge ratio, a similarity threshold or a downsample factor, whichever it takes."""

    ratio: float | Varying | None
    threshold: float | Varying | None
    factor: int | Varying | None


class Sites(TypedDict, total=False):
    """Blocks on which a token method acts, and the site where it measures similarity and scores."""

    levels: tuple[int, ...] | None
    blocks: tuple[int, ...] | str | None
    metric_site: MetricSite | None


class Options(Strength, Sites, total=False):
    """Every option of `apply`, which documents them; all may be left out."""

    timesteps: tuple[float, float] | None
    task: Task
    seed: int
    grid: tuple[int, int] | None
    calibration: Path | str | None
