"""Parts shared by commands: common options, the panels of `bigain --help`, and the log of a job."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from bigain.core import failures

# Panels of `bigain --help`, in the order of their first command.
STUDY_PANEL = "Plan and check a study"
METHODS_PANEL = "Methods and their cost"
IMAGES_PANEL = "Your own prompts and images"
JOBS_PANEL = "Run by the workflow"
REPORTS_PANEL = "Figures and tables"
TRAINING_PANEL = "Train the embedded models"
MAINTENANCE_PANEL = "Maintain the repository"
SHOWN = 60  # characters of a spec in a message


def json_object(text: str | None) -> str | None:
    """Return the text of a JSON object as it is. Raises BadParameter naming the text and what is wrong with it."""
    if text is None:
        return None
    try:
        is_object = isinstance(json.loads(text), dict)
    except (RecursionError, ValueError) as error:
        raise typer.BadParameter(f"{text!r:.{SHOWN}} is not JSON ({error})") from error
    if not is_object:
        raise typer.BadParameter(f'{text!r:.{SHOWN}} is not a JSON object, as in {{"path": "data/pets"}}')
    return text


SpecText = Annotated[str, typer.Option("--spec", help="Settings of the job, as canonical JSON.", callback=json_object)]
Output = Annotated[Path, typer.Option("--output", help="File to write.")]
Results = Annotated[
    Path, typer.Option(help="Tidy results of the study; images.parquet and cells.json lie beside them.")
]
Measured = Annotated[list[Path], typer.Argument(help="Measured efficiency, one file per backbone.")]
TablesFile = Annotated[Path, typer.Option("--tables", help="YAML file that describes the tables.")]
Written = Annotated[Path, typer.Option(help="File to write.")]
ConfigFiles = Annotated[
    list[Path] | None,
    typer.Option("--configfile", help="Config merged over config/config.yaml, as Snakemake does; may be repeated."),
]
MethodId = Annotated[str, typer.Option("--method", help="Method, as listed by `bigain methods`, or a variant.")]
Ratio = Annotated[float | None, typer.Option(help="Merge ratio of the method.")]
Factor = Annotated[int | None, typer.Option(help="Downsample factor of the method.")]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Log = Annotated[Path | None, typer.Option("--log", help="File for everything the job prints.")]


def fail(message: object, code: int = 2) -> NoReturn:
    """Print an error for the user and exit."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(code)


class MissingKey(KeyError):
    """Error for a key that a command reads but its --spec lacks."""

    def __str__(self) -> str:
        return f"--spec lacks the key {self.args[0]!r}: the workflow writes it, and `snakemake -n -p` prints it"


class Spec(dict[str, Any]):
    """JSON object of a spec, in which reading a missing key raises MissingKey."""

    def __missing__(self, key: str) -> NoReturn:
        raise MissingKey(key)


def parsed(spec_text: str) -> Any:
    """Return the spec of a job after adding the methods from outside that it names.

    A key that the spec lacks raises MissingKey where it is read. Raises ValueError if the file of a method has changed
    since the job was planned.
    """
    spec = json.loads(spec_text, object_hook=Spec)
    for source in spec.get("methods_from", ()):
        from bigain.methods import outside

        for id in outside.add_methods(source):
            now = outside.registered()[id]
            if spec["code"].get(now.method.operator, now.fingerprint) != now.fingerprint:
                raise ValueError(f"{now.file} has changed since this job was planned: start the study again")
    return spec


@contextmanager
def logged(log: Path | None) -> Iterator[None]:
    """Send standard output and error to a log file.

    An exception is also printed to the terminal and recorded for `bigain status`; so is a log that cannot be written.
    Without a log, only a spec without a needed key becomes a message; other exceptions keep their traceback.
    """
    if log is None:
        try:
            yield
        except MissingKey as error:
            fail(error)
        return
    failures.forget(log)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        handle = open(log, "w", encoding="utf-8")  # noqa: SIM115 - closed below
    except OSError as error:
        reason = f"{type(error).__name__}: {error}"
        failures.note(log, reason)
        fail(reason, code=1)
    terminal = [os.dup(1), os.dup(2)]
    with handle:
        os.dup2(handle.fileno(), 1)
        os.dup2(handle.fileno(), 2)
        try:
            yield
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            failures.note(log, reason)
            os.write(terminal[1], f"{reason} (see {log})\n".encode())
            with suppress(OSError):  # the disk may be full
                traceback.print_exc()
            raise typer.Exit(1) from error
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError):
                    stream.flush()
            os.dup2(terminal[0], 1)
            os.dup2(terminal[1], 2)
