"""Shared by all commands: the options of jobs, the panels of `bigain --help`, and the log of a job."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from bigain.core.files import write_text

# Panels of `bigain --help`, in the order of their first command.
STUDY_PANEL = "Plan and check a study"
METHODS_PANEL = "Methods and their cost"
JOBS_PANEL = "Run by the workflow"
REPORTS_PANEL = "Figures and tables"
TRAINING_PANEL = "Train the embedded models"
MAINTENANCE_PANEL = "Maintain the repository"

SpecText = Annotated[str, typer.Option("--spec", help="Settings of the job, as canonical JSON.")]
Output = Annotated[Path, typer.Option("--output", help="File to write.")]
ConfigFiles = Annotated[
    list[Path] | None,
    typer.Option("--configfile", help="Config merged over config/config.yaml, as Snakemake does; may be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Log = Annotated[Path | None, typer.Option("--log", help="File for everything the job prints.")]


def fail(message: object, code: int = 2) -> NoReturn:
    """Print an error for the user and exit."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(code)


@contextmanager
def logged(log: Path | None) -> Iterator[None]:
    """Send standard output and error to a log file.

    An exception is also printed where the user looks, and written beside the log for `bigain status`.
    """
    if log is None:
        yield
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    failure = log.with_suffix(".error")
    failure.unlink(missing_ok=True)
    terminal = [os.dup(1), os.dup(2)]
    with open(log, "w", encoding="utf-8") as handle:
        os.dup2(handle.fileno(), 1)
        os.dup2(handle.fileno(), 2)
        try:
            yield
        except Exception as error:
            import traceback

            traceback.print_exc()
            with suppress(OSError):  # the disk may be full
                write_text(failure, f"{type(error).__name__}: {error}\n")
            os.write(terminal[1], f"{type(error).__name__}: {error} (see {log})\n".encode())
            raise typer.Exit(1) from error
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(terminal[0], 1)
            os.dup2(terminal[1], 2)
