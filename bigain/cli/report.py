"""The commands that turn a study's results into tables, figures and the page. None imports torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bigain.cli.options import Log, Output, SpecText, logged

app = typer.Typer()

Results = Annotated[Path, typer.Option(help="the study's tidy results")]
Measured = Annotated[list[Path], typer.Argument(help="measurements, one file a backbone")]
File = Annotated[Path, typer.Option(help="written")]


@app.command()
def table(
    measured: Measured,
    results: Results,
    tables: Annotated[Path, typer.Option()],
    name: Annotated[str, typer.Option()],
    spec: SpecText,
    tex: File,
    csv: File,
    html: File,
    log: Log = None,
) -> None:
    """One table as LaTeX, CSV and HTML."""
    with logged(log):
        from bigain.reporting.table_files import write_table_files

        write_table_files(results, measured, tables, name, json.loads(spec), tex, csv, html)


@app.command("efficiency-table")
def efficiency_table(
    measured: Measured,
    spec: SpecText,
    tex: File,
    csv: File,
    html: File,
    log: Log = None,
) -> None:
    """Table 11: operations and seconds."""
    with logged(log):
        from bigain.reporting.efficiency import write_efficiency

        write_efficiency(measured, json.loads(spec), tex, csv, html)


@app.command("protocol-tables")
def protocol_tables(
    spec: SpecText, folder: Annotated[Path, typer.Option(help="table9, table10 and table13 go there")], log: Log = None
) -> None:
    """Tables 9, 10 and 13: data sets, stages, scores."""
    with logged(log):
        from bigain.reporting.protocol import write_listings

        write_listings(json.loads(spec), folder)


@app.command("token-figures")
def token_figures(
    maps: Annotated[list[Path], typer.Argument(help="token maps, one file a backbone and data set")],
    saliency_pdf: File,
    saliency_png: File,
    merged_pdf: File,
    merged_png: File,
    log: Log = None,
) -> None:
    """Figures 2 and 3: how detailed tokens are, and which are merged away."""
    with logged(log):
        from bigain.reporting.token_figures import write_token_figures

        write_token_figures(maps, (saliency_pdf, saliency_png), (merged_pdf, merged_png))


@app.command()
def theorem(
    files: Annotated[list[Path], typer.Argument(help="band spectra (.parquet) and metrics of all cells (.json)")],
    spec: SpecText,
    tex: File,
    csv: File,
    html: File,
    pdf: File,
    png: File,
    log: Log = None,
) -> None:
    """Theorem 1, measured: a table and a figure."""
    with logged(log):
        from bigain.reporting.theorem import write_theorem

        spectra = [file for file in files if file.suffix == ".parquet"]
        metrics = [file for file in files if file.suffix == ".json"]
        write_theorem(spectra, metrics, json.loads(spec), tex, csv, html, pdf, png)


@app.command()
def overview(
    measured: Measured,
    results: Results,
    spec: SpecText,
    tex: File,
    csv: File,
    html: File,
    log: Log = None,
) -> None:
    """Table 1: every method by the operations it saves."""
    with logged(log):
        from bigain.reporting.overview import write_overview

        write_overview(results, measured, json.loads(spec), tex, csv, html)


@app.command()
def claims(
    metrics: Annotated[list[Path], typer.Argument(help="metrics files of all cells")],
    data: Annotated[Path, typer.Option(help="the claims")],
    spec: SpecText,
    tex: File,
    csv: File,
    html: File,
    log: Log = None,
) -> None:
    """The paper's claims, judged on the study's cells."""
    with logged(log):
        from bigain.reporting.claims import write_claims

        write_claims(metrics, data, json.loads(spec), tex, csv, html)


@app.command()
def beside(
    measured: Measured,
    results: Results,
    spec: SpecText,
    tex: File,
    csv: File,
    html: File,
    log: Log = None,
) -> None:
    """The paper's printed numbers beside the study's."""
    with logged(log):
        from bigain.reporting.paper_comparison import write_comparison

        write_comparison(results, measured, json.loads(spec), tex, csv, html)


@app.command()
def audit(tex: File, csv: File, html: File, log: Log = None) -> None:
    """The paper's own inconsistencies, recomputed from its printed numbers."""
    with logged(log):
        from bigain.reporting.audit import write_audit

        write_audit(tex, csv, html)


@app.command()
def schedules(
    metrics: Annotated[list[Path], typer.Argument(help="metrics files of all cells")], output: Output, log: Log = None
) -> None:
    """What every cell really compressed, block by block."""
    with logged(log):
        from bigain.reporting.schedules import write_schedules

        write_schedules(metrics, output)


@app.command()
def elimination(
    runs: Annotated[list[Path], typer.Argument(help="chunk files of cells classified with one stage, one file a cell")],
    csv: File = Path("elimination.csv"),
    pdf: File = Path("elimination.pdf"),
    png: File = Path("elimination.png"),
) -> None:
    """What fewer noise predictions cost: stages and tests replayed on runs that stored every class at every trial."""
    from bigain.reporting.elimination import write_elimination

    try:
        write_elimination(runs, csv, pdf, png)
    except ValueError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


@app.command()
def figure(
    results: Results,
    pdf: Annotated[Path, typer.Option()],
    png: Annotated[Path, typer.Option()],
    log: Log = None,
) -> None:
    """Figure 1."""
    with logged(log):
        from bigain.reporting.figures import write_figure_1

        write_figure_1(results, pdf, png)


@app.command()
def tradeoff(
    measured: Measured,
    results: Results,
    pdf: Annotated[Path, typer.Option()],
    png: Annotated[Path, typer.Option()],
    log: Log = None,
) -> None:
    """Recognition against operations and against generation, with the Pareto front."""
    with logged(log):
        from bigain.reporting.tradeoff import write_tradeoff

        write_tradeoff(results, measured, pdf, png)


@app.command("class-changes")
def class_changes(
    metrics: Annotated[list[Path], typer.Argument(help="metrics files of all cells")],
    pdf: Annotated[Path, typer.Option()],
    png: Annotated[Path, typer.Option()],
    log: Log = None,
) -> None:
    """The change of accuracy class by class."""
    with logged(log):
        from bigain.reporting.classes import write_class_changes

        write_class_changes(metrics, pdf, png)


@app.command()
def sheet(
    files: Annotated[list[Path], typer.Argument(help="generated chunks, a row each")],
    output: Output,
    log: Log = None,
) -> None:
    """A sheet of samples, one row a cell."""
    with logged(log):
        from bigain.reporting.figures import write_sample_sheet

        write_sample_sheet(files, output)


@app.command()
def report(
    tables: Annotated[list[Path], typer.Argument(help="tables in LaTeX, in their order")],
    spec: SpecText,
    output: Output,
    log: Log = None,
) -> None:
    """A LaTeX document of all tables and figures."""
    with logged(log):
        from bigain.reporting.latex import write_report

        write_report(tables, json.loads(spec), output)


@app.command("compile")
def compile_(
    document: Annotated[Path, typer.Argument(help="report.tex, with its tables and figures beside it")],
    output: Output,
    log: Log = None,
) -> None:
    """Compile the report to a PDF."""
    with logged(log):
        from bigain.reporting.latex import compile_report

        for line in compile_report(document, output):
            print(f"does not fit: {line}")


@app.command()
def page(
    metrics: Annotated[list[Path], typer.Argument(help="metrics files of all cells")],
    results: Results,
    tables: Annotated[Path, typer.Option()],
    document: Annotated[Path, typer.Option(help="the report, to which the page links")],
    spec: SpecText,
    output: Output,
    log: Log = None,
) -> None:
    """Everything on one self-contained page; tables, figure and sheets are taken from beside it."""
    with logged(log):
        from bigain.reporting.page import write_page

        write_page(results, metrics, tables, document, json.loads(spec), output)
