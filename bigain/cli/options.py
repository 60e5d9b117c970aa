"""What the commands of jobs share: their options, and where what they print goes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from bigain.core.files import write_text

SpecText = Annotated[str, typer.Option("--spec", help="the job's settings, canonical JSON")]
Output = Annotated[Path, typer.Option("--output")]
Log = Annotated[Path | None, typer.Option("--log", help="everything the job prints goes here")]


@contextmanager
def logged(log: Path | None) -> Iterator[None]:
    """Send standard output and error to a log file; on an error say it where the person looks, and beside the log for
    `bigain status`."""
    if log is None:
        yield
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    failure = log.with_suffix(".error")
    failure.unlink(missing_ok=True)
    shown = [os.dup(1), os.dup(2)]
    with open(log, "w", encoding="utf-8") as handle:
        os.dup2(handle.fileno(), 1)
        os.dup2(handle.fileno(), 2)
        try:
            yield
        except Exception as error:
            import traceback

            traceback.print_exc()
            with suppress(OSError):  # the disk may be what is full
                write_text(failure, f"{type(error).__name__}: {error}\n")
            os.write(shown[1], f"{type(error).__name__}: {error} (see {log})\n".encode())
            raise typer.Exit(1) from error
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(shown[0], 1)
            os.dup2(shown[1], 2)
