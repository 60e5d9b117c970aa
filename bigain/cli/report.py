"""Commands that turn a study's results into tables; figures and documents are in other modules. No torch."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bigain.cli import documents, figures, trials
from bigain.cli.options import (
    REPORTS_PANEL,
    Log,
    Measured,
    Output,
    Results,
    SpecText,
    TablesFile,
    Written,
    logged,
    parsed,
)

app = typer.Typer()
for part in (figures.app, documents.app, trials.app):  # of this module, whose fingerprint is that of all reports
    app.add_typer(part)
command = partial(app.command, rich_help_panel=REPORTS_PANEL)


@command()
def table(
    measured: Measured,
    results: Results,
    tables: TablesFile,
    name: Annotated[str, typer.Option(help="Name of the table in that file.")],
    spec_text: SpecText,
    tex: Written,
    csv: Written,
    html: Written,
    log: Log = None,
) -> None:
    """Write one of the tables as LaTeX, CSV and HTML."""
    with logged(log):
        from bigain.reporting.collected import read_cells, read_measurements, read_results
        from bigain.reporting.scores import Scores
        from bigain.reporting.table_files import write_table_files

        spec = parsed(spec_text)
        scores = Scores(read_cells(results, spec))
        numbers = read_results(results, spec), scores, read_measurements(measured, spec)
        write_table_files(*numbers, tables, name, spec, tex, csv, html)


@command("efficiency-table")
def efficiency_table(
    measured: Measured,
    spec_text: SpecText,
    tex: Written,
    csv: Written,
    html: Written,
    log: Log = None,
) -> None:
    """Write the FLOPs and the time of every method (Table 11)."""
    with logged(log):
        from bigain.reporting.collected import read_measurements
        from bigain.reporting.efficiency import write_efficiency

        spec = parsed(spec_text)
        write_efficiency(read_measurements(measured, spec), spec, tex, csv, html)


@command("protocol-tables")
def protocol_tables(
    spec_text: SpecText,
    folder: Annotated[Path, typer.Option(help="Folder for table9, table10 and table13.")],
    log: Log = None,
) -> None:
    """Write the data sets, stages and scores of the protocol (Tables 9, 10 and 13)."""
    with logged(log):
        from bigain.reporting.protocol import write_listings

        write_listings(parsed(spec_text), folder)


@command()
def theorem(
    spectra: Annotated[list[Path], typer.Argument(help="Band spectra, one file per backbone and data set.")],
    results: Results,
    spec_text: SpecText,
    tex: Written,
    csv: Written,
    html: Written,
    pdf: Written,
    png: Written,
    log: Log = None,
) -> None:
    """Write the study's measurements of Theorem 1 as a table and a figure."""
    with logged(log):
        from bigain.reporting.collected import read_cells, verified
        from bigain.reporting.theorem import write_theorem

        spec = parsed(spec_text)
        probed = [verified(file, spec) for file in spectra]
        write_theorem(probed, read_cells(results, spec), spec, tex, csv, html, pdf, png)


@command()
def frequency(
    margins: Annotated[
        list[Path] | None,
        typer.Argument(help="Margins to the hardest wrong class, one file per backbone and data set."),
    ] = None,
    *,
    results: Results,
    data: Annotated[Path, typer.Option(help="YAML file of the claims, for its margin of equivalence.")],
    spec_text: SpecText,
    tex: Written,
    csv: Written,
    html: Written,
    pdf: Written,
    png: Written,
    log: Log = None,
) -> None:
    """Test whether frequency is why BiGain works: write tables, a figure, and an answer."""
    with logged(log):
        from bigain.reporting.collected import read_cells, verified
        from bigain.reporting.frequency import write_frequency

        spec = parsed(spec_text)
        measured = [verified(file, spec) for file in margins or []]
        write_frequency(measured, read_cells(results, spec), data, spec, tex, csv, html, pdf, png)


@command()
def overview(
    measured: Measured,
    results: Results,
    spec_text: SpecText,
    tex: Written,
    csv: Written,
    html: Written,
    log: Log = None,
) -> None:
    """Write the overview of all methods by the operations they save (Table 1)."""
    with logged(log):
        from bigain.reporting.collected import read_measurements, read_results
        from bigain.reporting.overview import write_overview

        spec = parsed(spec_text)
        write_overview(read_results(results, spec), read_measurements(measured, spec), spec, tex, csv, html)


@command()
def leaderboard(
    measured: Measured,
    results: Results,
    spec_text: SpecText,
    tex: Written,
    csv: Written,
    html: Written,
    log: Log = None,
) -> None:
    """Rank every method among those of equal cost, in operations and in seconds."""
    with logged(log):
        from bigain.reporting.collected import read_cells, read_measurements, read_results
        from bigain.reporting.leaderboard import write_leaderboard
        from bigain.reporting.scores import Scores

        spec = parsed(spec_text)
        numbers = read_results(results, spec), Scores(read_cells(results, spec)), read_measurements(measured, spec)
        write_leaderboard(*numbers, spec, tex, csv, html)


@command()
def claims(
    results: Results,
    data: Annotated[Path, typer.Option(help="YAML file of the claims.")],
    spec_text: SpecText,
    tex: Written,
    csv: Written,
    html: Written,
    log: Log = None,
) -> None:
    """Judge the paper's claims on the study's cells."""
    with logged(log):
        from bigain.reporting.claims_table import write_claims
        from bigain.reporting.collected import read_cells

        spec = parsed(spec_text)
        write_claims(read_cells(results, spec), data, spec, tex, csv, html)


@command()
def answers(
    results: Results,
    data: Annotated[Path, typer.Option(help="YAML file of the claims and questions.")],
    spec_text: SpecText,
    tex: Written,
    csv: Written,
    html: Written,
    log: Log = None,
) -> None:
    """Answer the paper's questions from the verdicts on its claims."""
    with logged(log):
        from bigain.reporting.answers import write_answers
        from bigain.reporting.collected import read_cells

        spec = parsed(spec_text)
        write_answers(read_cells(results, spec), data, spec, tex, csv, html)


@command()
def beside(
    measured: Measured,
    results: Results,
    spec_text: SpecText,
    tex: Written,
    csv: Written,
    html: Written,
    log: Log = None,
) -> None:
    """Write the paper's printed numbers beside the study's."""
    with logged(log):
        from bigain.reporting.collected import read_measurements, read_results
        from bigain.reporting.paper_comparison import write_comparison

        spec = parsed(spec_text)
        write_comparison(read_results(results, spec), read_measurements(measured, spec), spec, tex, csv, html)


@command()
def audit(tex: Written, csv: Written, html: Written, log: Log = None) -> None:
    """List inconsistencies among the paper's printed numbers."""
    with logged(log):
        from bigain.reporting.audit import write_audit

        write_audit(tex, csv, html)


@command()
def schedules(results: Results, spec_text: SpecText, output: Output, log: Log = None) -> None:
    """List the blocks that each cell compressed."""
    with logged(log):
        from bigain.reporting.collected import read_cells
        from bigain.reporting.schedules import write_schedules

        write_schedules(read_cells(results, parsed(spec_text)), output)
