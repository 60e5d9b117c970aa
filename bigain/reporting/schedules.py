"""schedules.csv: what every cell compressed, block by block (the exact schedules that the paper promises)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bigain.core.files import write_text
from bigain.reporting.collected import CellScores

COLUMNS = ["task", "backbone", "method", "strength", "block", "where", "unit", "of", "queries", "keys_values"]


def write_schedules(cells: list[CellScores], output: Path) -> None:
    """Write a row for every compressed block of every (task, backbone, method, strength).

    Token methods: the N tokens of the block's grid, and the N' queries and M keys that remain. Structural methods: the
    heads, neurons or steps that remain in a layer or block.
    """
    rows = []
    for scored in cells:
        cell = {name: scored["cell"][name] for name in ("task", "backbone", "method", "strength")}
        for site in scored["compressed"]:
            block = {"block": site["block"], "where": site["grid"], "unit": site.get("unit", "token")}
            rows.append({**cell, **block, "of": site["tokens"], "queries": site["kept"], "keys_values": site["keys"]})
    table = pd.DataFrame(rows, columns=COLUMNS).drop_duplicates()
    write_text(output, table.to_csv(index=False, lineterminator="\n"))
