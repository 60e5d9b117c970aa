"""Write a table as LaTeX in the paper's layout, as HTML grouped by metric, and as CSV."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bigain.core.report_specs import ReportSpec
from bigain.reporting import names
from bigain.reporting.bias import bias_note
from bigain.reporting.contents import read_table_entry
from bigain.reporting.layout import lay_out
from bigain.reporting.paper_values import printed_in
from bigain.reporting.rendering import write_table
from bigain.reporting.scores import Scores
from bigain.reporting.tables import EXTRAS, build, environments, to_csv, with_extra_column


def write_table_files(
    results: pd.DataFrame,
    scores: Scores,
    measured: pd.DataFrame,
    tables: Path,
    name: str,
    spec: ReportSpec,
    tex: Path,
    csv: Path,
    html: Path,
) -> None:
    """Write one table of the study in three formats. Raises ValueError for a table that does not exist."""
    table = read_table_entry(tables, name)
    backbones = [backbone for backbone, family in spec["backbones"].items() if family in table.families]
    frame = names.without_hidden_maps(results, spec)
    printed = printed_in(table.printed_in) if spec["of_paper"] else {}
    strengths, groups = build(frame, scores, table, backbones, printed)
    groups = with_extra_column(groups, table, measured, printed)
    shown = frame[frame["method"].isin([*table.methods, *table.baselines])]
    distances = frame[frame["backbone"].isin({g.backbone for g in groups if g.metric in names.DISTANCES})]
    context = {
        "name": name,
        "table": table,
        "strengths": strengths,
        "groups": groups,
        "spec": spec,
        "environments": environments(shown),
        "bias": bias_note(distances),
        "extra": EXTRAS[table.extra].heading if table.extra else None,
        "layout": lay_out(table, strengths, groups),
    }
    write_table("table", context, to_csv(strengths, groups), tex, csv, html)
