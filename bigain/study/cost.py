"""What a noise prediction costs, from the committed table of FLOPs (`bigain flops-table` writes it). No torch."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from bigain.methods.ids import method_of

TABLE = Path(__file__).with_name("flops.csv")


@cache
def _table() -> dict[tuple[str, str, float | None], float]:
    with open(TABLE, newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    strength = {row["strength"]: float(row["strength"]) if row["strength"] else None for row in rows}
    return {(row["backbone"], row["method"], strength[row["strength"]]): float(row["total"]) for row in rows}


def gflops(backbone: str, method: str, strength: float | int | None) -> float:
    """GFLOPs of one noise prediction: of the cell itself if the table has it, else of the preset that it varies; of a
    structural method what it is calibrated to. 1 for a backbone that is not in the table: its cells then count alike.
    """
    plain = _table().get((backbone, "none", None), 1.0)
    if method_of(method).acts_on == "model":
        return plain * (1 - strength / 100)
    preset = _table().get((backbone, method.split("~")[0], strength), plain)
    return _table().get((backbone, method, strength), preset)
