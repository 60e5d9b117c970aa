"""Commands that assemble a study's tables and figures: the LaTeX document, its PDF, and the page. No torch."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bigain.cli.options import REPORTS_PANEL, Log, Output, Results, SpecText, TablesFile, logged, parsed

app = typer.Typer()
command = partial(app.command, rich_help_panel=REPORTS_PANEL)


@command()
def report(
    tables: Annotated[list[Path], typer.Argument(help="Tables in LaTeX, in their order.")],
    spec_text: SpecText,
    output: Output,
    log: Log = None,
) -> None:
    """Write a LaTeX document of all tables and figures."""
    with logged(log):
        from bigain.reporting.latex import write_report

        write_report(tables, parsed(spec_text), output)


@command("compile")
def compile_(
    document: Annotated[Path, typer.Argument(help="The LaTeX document, with its tables and figures beside it.")],
    output: Output,
    log: Log = None,
) -> None:
    """Compile the LaTeX document to a PDF."""
    with logged(log):
        from bigain.reporting.latex import compile_report

        for line in compile_report(document, output):
            print(f"does not fit: {line}")


@command()
def manifest(
    files: Annotated[list[Path], typer.Argument(help="All rendered files.")],
    spec_text: SpecText,
    output: Output,
    log: Log = None,
) -> None:
    """Write the checksums of all rendered files of a report, with its spec."""
    with logged(log):
        from bigain.reporting.manifest import write_manifest

        write_manifest(files, parsed(spec_text), output)


@command()
def page(
    sheets: Annotated[list[Path] | None, typer.Argument(help="Sample sheets.")] = None,
    *,
    results: Results,
    tables: TablesFile,
    document: Annotated[Path, typer.Option(help="The report that the page links to.")],
    spec_text: SpecText,
    output: Output,
    log: Log = None,
) -> None:
    """Write the report as one self-contained HTML page, with the tables and figures that lie beside it."""
    with logged(log):
        from bigain.reporting.collected import read_cells, read_results
        from bigain.reporting.page import write_page

        spec = parsed(spec_text)
        numbers = read_results(results, spec), read_cells(results, spec)
        write_page(*numbers, tables, document, sheets or [], spec, output)
