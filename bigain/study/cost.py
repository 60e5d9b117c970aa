"""What a noise prediction costs, from the committed table of FLOPs (`bigain flops-table` writes it). No torch."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("flops.csv")


@cache
def _table() -> dict[tuple[str, str, float | None], float]:
    with open(TABLE, newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    strength = {row["strength"]: float(row["strength"]) if row["strength"] else None for row in rows}
    return {(row["backbone"], row["method"], strength[row["strength"]]): float(row["total"]) for row in rows}


def gflops(backbone: str, method: str, strength: float | int | None) -> float:
    """GFLOPs of one noise prediction: of the cell itself if the table has it, else of the uncompressed backbone; 1 for
    a backbone that is not in the table, whose cells then count alike."""
    plain = _table().get((backbone, "none", None), 1.0)
    return _table().get((backbone, method, strength), plain)
