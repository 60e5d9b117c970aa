"""The commands that draw the figures and sample sheets of a study's report. No torch."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bigain.cli.options import REPORTS_PANEL, Log, Measured, Output, Results, SpecText, Written, logged, parsed

app = typer.Typer()
command = partial(app.command, rich_help_panel=REPORTS_PANEL)


@command("token-figures")
def token_figures(
    maps: Annotated[list[Path], typer.Argument(help="Token maps, one file per backbone and data set.")],
    spec_text: SpecText,
    saliency_pdf: Written,
    saliency_png: Written,
    saliency_csv: Written,
    merged_pdf: Written,
    merged_png: Written,
    merged_csv: Written,
    log: Log = None,
) -> None:
    """Draw maps of the tokens' saliency and of the merged tokens (Figures 2 and 3)."""
    with logged(log):
        from bigain.reporting.collected import verified
        from bigain.reporting.token_figures import FigureFiles, write_token_figures

        spec = parsed(spec_text)
        saliency = FigureFiles(saliency_pdf, saliency_png, saliency_csv)
        merged = FigureFiles(merged_pdf, merged_png, merged_csv)
        write_token_figures([verified(file, spec) for file in maps], saliency, merged)


@command()
def figure(
    results: Results,
    spec_text: SpecText,
    pdf: Written,
    png: Written,
    csv: Written,
    log: Log = None,
) -> None:
    """Draw the change in accuracy and Fréchet distance under merging and downsampling (Figure 1)."""
    with logged(log):
        from bigain.reporting.collected import read_cells
        from bigain.reporting.figures import write_figure_1
        from bigain.reporting.scores import Scores

        write_figure_1(Scores(read_cells(results, parsed(spec_text))), pdf, png, csv)


@command()
def tradeoff(
    measured: Measured,
    results: Results,
    spec_text: SpecText,
    pdf: Written,
    png: Written,
    csv: Written,
    log: Log = None,
) -> None:
    """Draw recognition against operations and against generation, with the Pareto front."""
    with logged(log):
        from bigain.reporting.collected import read_cells, read_measurements, read_results
        from bigain.reporting.scores import Scores
        from bigain.reporting.tradeoff import write_tradeoff

        spec = parsed(spec_text)
        scores = Scores(read_cells(results, spec))
        write_tradeoff(read_results(results, spec), scores, read_measurements(measured, spec), pdf, png, csv)


@command()
def forest(
    measured: Measured,
    results: Results,
    spec_text: SpecText,
    pdf: Written,
    png: Written,
    csv: Written,
    log: Log = None,
) -> None:
    """Draw the leaderboard: paired differences in accuracy from the uncompressed model, by budget of operations."""
    with logged(log):
        from bigain.reporting.collected import read_cells, read_measurements, read_results
        from bigain.reporting.forest import write_forest
        from bigain.reporting.scores import Scores

        spec = parsed(spec_text)
        scores = Scores(read_cells(results, spec))
        write_forest(read_results(results, spec), scores, read_measurements(measured, spec), pdf, png, csv)


@command("class-changes")
def class_changes(
    results: Results,
    spec_text: SpecText,
    pdf: Written,
    png: Written,
    csv: Written,
    log: Log = None,
) -> None:
    """Draw the change in accuracy of each class."""
    with logged(log):
        from bigain.reporting.classes import write_class_changes
        from bigain.reporting.collected import read_cells

        write_class_changes(read_cells(results, parsed(spec_text)), pdf, png, csv)


@command("informative-timesteps")
def informative_timesteps(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Accuracy at single timesteps, one file per backbone and data set.")
    ] = None,
    *,
    spec_text: SpecText,
    tex: Written,
    csv: Written,
    html: Written,
    pdf: Written,
    png: Written,
    log: Log = None,
) -> None:
    """Write which timesteps tell the classes apart: a table of weights, a figure, and an answer."""
    with logged(log):
        from bigain.reporting.collected import verified
        from bigain.reporting.informative_timesteps import write_informative_timesteps

        spec = parsed(spec_text)
        measured = [verified(file, spec) for file in files or []]
        write_informative_timesteps(measured, spec, tex, csv, html, pdf, png)


@command()
def sheet(
    files: Annotated[list[Path], typer.Argument(help="Generated images, one file per row.")],
    spec_text: SpecText,
    output: Output,
    log: Log = None,
) -> None:
    """Draw a sheet of generated samples, one row per cell."""
    with logged(log):
        from bigain.reporting.collected import verified
        from bigain.reporting.figures import write_sample_sheet

        spec = parsed(spec_text)
        write_sample_sheet([verified(file, spec) for file in files], output)
