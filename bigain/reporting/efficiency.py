"""Table 11: operations and seconds of a forward pass, as CSV, LaTeX and HTML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from bigain.core.files import write_text
from bigain.methods.ids import method_of
from bigain.reporting import names
from bigain.reporting.tables import templates


def write_efficiency(measured: list[Path], spec: dict[str, Any], tex: Path, csv: Path, html: Path) -> None:
    """Join the backbones' measurements and render them in three forms."""
    table = pd.concat([pd.read_csv(file) for file in measured], ignore_index=True)
    write_text(csv, table.to_csv(index=False, lineterminator="\n"))
    groups = [
        (backbone, [_row(row) for row in part.to_dict("records")]) for backbone, part in table.groupby("backbone")
    ]
    context = {"groups": groups, "spec": spec, "batch": int(table["batch"].iloc[0]), "device": table["device"].iloc[0]}
    write_text(tex, templates().get_template("efficiency.tex.j2").render(context))
    write_text(html, templates().get_template("efficiency.html.j2").render(context))


def _row(row: dict[str, Any]) -> dict[str, Any]:
    method = method_of(row["method"])
    strength = "" if pd.isna(row["strength"]) else names.strength(method.strength_kind, row["strength"])
    return {**row, "label": method.label, "strength": strength}
