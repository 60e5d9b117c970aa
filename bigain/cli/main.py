"""The `bigain` command, assembled from the commands of this package. Heavy imports wait until they are used."""

from __future__ import annotations

import errno
import traceback
from typing import Annotated

import typer

from bigain.cli import (
    bundles,
    compare,
    embedded,
    init,
    integrity,
    jobs,
    maintenance,
    methods,
    pictures,
    power,
    report,
    study,
)
from bigain.cli.options import TRAINING_PANEL

INTERRUPTED = 130  # exit code after Ctrl-C
# Errors of a disk or its permissions, which say all that a user needs: full, over the quota, read-only, not allowed.
OF_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for commands in (
    *(init.app, study.app, power.app, integrity.app, bundles.app),
    *(methods.app, compare.app, pictures.app, jobs.app, report.app, embedded.app, maintenance.app),
):
    app.add_typer(commands)
app.add_typer(embedded.train_app, name="train", rich_help_panel=TRAINING_PANEL)


@app.callback()
def bigain() -> None:
    """Token compression of diffusion models, evaluated on generation and on recognition."""


@app.command(hidden=True)
def warm(socket: Annotated[str, typer.Option(help="Name of the Unix socket to listen at.")]) -> None:
    """Serve commands from forks of this process until standard input ends."""
    from bigain.cli.forkserver import serve

    serve(socket, exit_code)


def main(arguments: list[str] | None = None) -> None:
    """Run a command; print an interrupt, a disk that cannot be written and a missing package in one line each."""
    try:
        app(arguments)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            typer.echo("error: interrupted; no file is left half-written", err=True)
        raise
    except OSError as error:
        if error.errno not in OF_DISK:
            raise
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("bigain"):
            raise
        typer.echo(f'error: {error.name} is not installed. Studies need it: pip install "bigain[study]"', err=True)
        raise SystemExit(2) from None


def exit_code(arguments: list[str]) -> int:
    """Run a command in this process and return the exit code of a separate process."""
    try:
        main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:
        traceback.print_exc()
        return 1
    return 0
