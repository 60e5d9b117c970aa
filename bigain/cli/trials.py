"""Commands on the stored trials of any cells, wherever they lie: schedules with fewer noise predictions, and timesteps
that tell the classes apart. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bigain.cli.options import REPORTS_PANEL, Written, fail
from bigain.core.outputs import Output, begins_with, check_outputs

app = typer.Typer()
command = partial(app.command, rich_help_panel=REPORTS_PANEL)


@command()
def elimination(
    runs: Annotated[list[Path], typer.Argument(help="Trials of cells classified in one stage, one file per cell.")],
    csv: Written = Path("elimination.csv"),
    pdf: Written = Path("elimination.pdf"),
    png: Written = Path("elimination.png"),
    tree: Annotated[
        Path | None,
        typer.Option(help="JSON file of a label tree (groups of classes); descents of the tree are replayed too."),
    ] = None,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Also certify a z on half of the images.")] = False,
    every: Annotated[int, typer.Option(help="Trials from one elimination to the next, with --calibrate.")] = 5,
    rate: Annotated[
        float, typer.Option(help="Rate of disagreement with the full evaluation to certify, with --calibrate.")
    ] = 0.02,
    delta: Annotated[float, typer.Option(help="Error level of the certificate, with --calibrate.")] = 0.05,
    certificate: Annotated[
        Path, typer.Option(help="File of the certificate, with --calibrate; its table is the .csv beside it.")
    ] = Path("elimination-certificate.json"),
) -> None:
    """Replay stages and elimination on stored trials to show what fewer noise predictions cost in accuracy."""
    from bigain.reporting.certification import calibrate as calibrate_z
    from bigain.reporting.elimination import write_elimination

    outputs = [table_file("--csv", csv, "run,kind,schedule,"), pdf_file(pdf), png_file(png)]
    if calibrate:
        outputs.append(
            Output("--certificate", certificate, "a certificate of an elimination", begins_with(b'{\n  "cells": '))
        )
        outputs.append(table_file("the table beside --certificate", certificate.with_suffix(".csv"), "run,z,part,"))
    check(outputs, [*runs_of(runs), ("--tree", tree)])
    try:
        write_elimination(runs, csv, pdf, png, tree)
        calibration = calibrate_z(runs, every, rate, delta) if calibrate else None
    except ValueError as error:
        fail(error)
    if calibration is not None:
        calibration.write(certificate)
        typer.echo(calibration.table.to_string(index=False, float_format="{:.2f}".format))
        if calibration.certificate is None:
            smallest = f"these images can certify {calibration.smallest_rate:.2g} at best"
            fail(f"no z is certified for --rate {rate:g}, so {certificate} is not written; {smallest}", code=1)
        typer.echo(f"z = {calibration.certificate['z']:g} is certified: {certificate}")


@command()
def timesteps(
    runs: Annotated[list[Path], typer.Argument(help="Trials of classification cells, one file per cell.")],
    csv: Written = Path("timesteps.csv"),
    weights: Annotated[Path, typer.Option(help="File of the table of weights.")] = Path("timestep-weights.csv"),
    pdf: Written = Path("timesteps.pdf"),
    png: Written = Path("timesteps.png"),
) -> None:
    """Show which timesteps tell the classes apart: accuracy at single timesteps, and weights over t."""
    from bigain.reporting.timesteps import write_timesteps

    tables = [table_file("--csv", csv, "run,t,classes,"), table_file("--weights", weights, "run,weights,fitted_on,")]
    check([*tables, pdf_file(pdf), png_file(png)], runs_of(runs))
    try:
        table = write_timesteps(runs, csv, weights, pdf, png)
    except ValueError as error:
        fail(error)
    typer.echo(table.to_string(index=False, float_format="{:.2f}".format))


def table_file(option: str, path: Path, header: str) -> Output:
    """Return a CSV file to write, which may replace one whose header begins as its own does."""
    return Output(option, path, "an earlier table of this command", begins_with(header.encode()))


def pdf_file(path: Path) -> Output:
    """Return a PDF to write, which may replace a PDF."""
    return Output("--pdf", path, "a PDF", begins_with(b"%PDF-"))


def png_file(path: Path) -> Output:
    """Return a PNG to write, which may replace a PNG."""
    return Output("--png", path, "a PNG", begins_with(b"\x89PNG"))


def runs_of(runs: Sequence[Path]) -> list[tuple[str, Path | None]]:
    """Return the trials that a command reads, as inputs of `check`."""
    return [("the command", run) for run in runs]


def check(outputs: Sequence[Output], inputs: Sequence[tuple[str, Path | None]]) -> None:
    """Print an error and exit if an output would replace something else."""
    try:
        check_outputs(outputs, inputs)
    except (OSError, ValueError) as error:
        fail(error)
