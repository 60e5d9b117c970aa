"""The section "Where in t is the class?": accuracy at single timesteps, weights over t, and an answer."""

from __future__ import annotations

from pathlib import Path

from bigain.core.columns import csv_text
from bigain.core.report_specs import ReportSpec
from bigain.reporting import style
from bigain.reporting.frames import records
from bigain.reporting.rendering import write_table
from bigain.reporting.timestep_answer import answers
from bigain.reporting.timestep_figure import draw
from bigain.reporting.timestep_profiles import read_profiles, read_rows


def write_informative_timesteps(
    files: list[Path], spec: ReportSpec, tex: Path, csv: Path, html: Path, pdf: Path, png: Path
) -> None:
    """Write the section in three formats and its figure in two; without files, both say that it was not run."""
    profiles = read_profiles(files)
    judged = [(each, records(each.weights)) for each in profiles if each.weights["left_out"].isna().any()]
    context = {"spec": spec, "answers": answers(profiles), "judged": judged}
    rows = records(read_rows(files)) if files else []
    write_table("timesteps", context, csv_text("timesteps", rows), tex, csv, html)
    with style.look():
        style.save(draw(profiles) if profiles else style.message("Not run."), pdf, png)
