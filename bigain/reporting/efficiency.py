"""Table 11: operations and seconds of a forward pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from bigain.core.columns import csv_text
from bigain.core.report_specs import ReportSpec
from bigain.methods.ids import method_of
from bigain.reporting import names
from bigain.reporting.frames import groups, records
from bigain.reporting.rendering import write_table
from bigain.reporting.tables import arm_rows


def write_efficiency(measured: pd.DataFrame, spec: ReportSpec, tex: Path, csv: Path, html: Path) -> None:
    """Write the measurements of every backbone in three formats."""
    by_backbone = groups(measured.sort_values("backbone", kind="stable"), ["backbone"])
    context = {
        "groups": [(backbone, [_row(row) for row in records(rows)]) for (backbone,), rows in by_backbone],
        "spec": spec,
        "batch": int(measured["batch"].iloc[0]),
        "device": measured["device"].iloc[0],
    }
    write_table("efficiency", context, _csv(measured), tex, csv, html)


def _csv(table: pd.DataFrame) -> str:
    """Return the measurements as CSV, in the units of the table."""
    table = table.assign(keys_saved_percent=100 * table["sparsity"]).drop(columns="sparsity")
    return csv_text("table11", arm_rows(table))


def _row(row: dict[str, Any]) -> dict[str, Any]:
    method = method_of(row["method"])
    return {**row, "label": method.label, "strength": names.strength(method.strength_kind, row["strength"])}
