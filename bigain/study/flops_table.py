"""Look up what a noise prediction costs in the committed table of FLOPs (`bigain flops-table` writes it). No torch."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from bigain.methods.ids import method_of
from bigain.methods.schedules import Schedule

TABLE = Path(__file__).with_name("flops.csv")


def gflops(
    backbone: str, method: str, strength: float | int | None, timesteps: Mapping[int, float] | None = None
) -> float:
    """Return the GFLOPs of one noise prediction: a mean over `timesteps`, with their shares (default: all, evenly).

    A variant that is not in the table counts as its preset, a structural method as the operations that it is calibrated
    to. Between the table's strengths, GFLOPs are interpolated linearly. All cells of a backbone that is not in the
    table count alike.
    """
    table, changed = _table(), method_of(method)
    uncompressed = table.get((backbone, "none", None), 1.0)
    if strength is None:
        return uncompressed
    if changed.acts_on == "model":
        return uncompressed * (1 - strength / 100)
    counted = {s: gf for (b, m, s), gf in table.items() if (b, m) == (backbone, method) and s is not None}
    preset = method.split("~")[0]
    counted = counted or {s: gf for (b, m, s), gf in table.items() if (b, m) == (backbone, preset) and s is not None}
    if not counted:
        return uncompressed
    schedule, at = Schedule(changed, strength, changed.timesteps), {0.0: uncompressed, **counted}
    mean = 0.0
    for t, share in schedule.visits(timesteps):
        value = schedule.at(t)
        mean += share * (uncompressed if value is None else _between(at, value))
    return mean


def _between(counted: Mapping[float, float], strength: float) -> float:
    """Interpolate counted operations linearly; beyond the largest strength, return the count at the largest."""
    if strength in counted:
        return counted[strength]
    below = max(s for s in counted if s <= strength)
    above = min((s for s in counted if s >= strength), default=below)
    return counted[below] + (counted[above] - counted[below]) * (strength - below) / ((above - below) or 1)


@cache
def _table() -> dict[tuple[str, str, float | None], float]:
    """Return the GFLOPs by (backbone, method, strength)."""
    with open(TABLE, newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    strengths = [float(row["strength"]) if row["strength"] else None for row in rows]
    keys = [(row["backbone"], row["method"], strength) for row, strength in zip(rows, strengths, strict=True)]
    return {key: float(row["total"]) for key, row in zip(keys, rows, strict=True)}
