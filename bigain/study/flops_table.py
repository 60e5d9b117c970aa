"""Look up what a noise prediction costs in the committed table of FLOPs (`bigain flops-table` writes it). No torch."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from bigain.methods.ids import method_of

TABLE = Path(__file__).with_name("flops.csv")


def gflops(backbone: str, method: str, strength: float | int | None) -> float:
    """Return the GFLOPs of one noise prediction.

    A variant that is not in the table counts as its preset, a structural method as what it is calibrated to. All cells
    of a backbone that is not in the table count alike, as 1.
    """
    table = _table()
    uncompressed = table.get((backbone, "none", None), 1.0)
    if method_of(method).acts_on == "model" and strength is not None:
        return uncompressed * (1 - strength / 100)
    preset = table.get((backbone, method.split("~")[0], strength), uncompressed)
    return table.get((backbone, method, strength), preset)


@cache
def _table() -> dict[tuple[str, str, float | None], float]:
    """Return the GFLOPs by (backbone, method, strength)."""
    with open(TABLE, newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    strengths = [float(row["strength"]) if row["strength"] else None for row in rows]
    keys = [(row["backbone"], row["method"], strength) for row, strength in zip(rows, strengths, strict=True)]
    return {key: float(row["total"]) for key, row in zip(keys, rows, strict=True)}
