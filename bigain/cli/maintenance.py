"""The commands that keep the repository consistent: fingerprints of the code, counted FLOPs, checksums."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bigain.cli.options import MAINTENANCE_PANEL, Output, fail

app = typer.Typer()
command = partial(app.command, rich_help_panel=MAINTENANCE_PANEL)


@command()
def accept(
    parts: Annotated[list[str] | None, typer.Argument(help="Parts of the code; `all`: every changed part.")] = None,
    new_numbers: Annotated[
        bool, typer.Option("--new-numbers", help="Record that the numbers changed, so that older results are outdated.")
    ] = False,
) -> None:
    """Record that changed code still gives the same numbers, so that finished results stay valid.

    Until a change is recorded, cells of changed code are computed again. Without names, lists the changed parts, and
    exits with status 1 if any change is not recorded.
    """
    from bigain.study import fingerprints

    try:
        fingerprints.accept(fingerprints.changed() if parts == ["all"] else parts or [], new_numbers)
    except ValueError as error:
        fail(error)
    changed = fingerprints.changed()
    for part in changed:
        typer.echo(f"{part} has changed since its numbers were recorded")
    typer.echo(f"{len(changed)} parts were changed" if changed else "all code matches the record")
    raise typer.Exit(1 if changed else 0)


@command("flops-table")
def flops_table(output: Output = Path("bigain/study/flops.csv")) -> None:
    """Count every method at the paper's strengths on its models and the embedded ones, for `bigain plan`."""
    from bigain.core.outputs import Output, begins_with, check_outputs
    from bigain.measure.flops_table import write

    try:
        check_outputs([Output("--output", output, "a table of FLOPs", begins_with(b"backbone,method,strength,"))])
    except ValueError as error:
        fail(error)
    write(output)


@command()
def checksums(folder: Annotated[Path, typer.Argument(help="Folder that gets a SHA256SUMS.")]) -> None:
    """Write the SHA256SUMS of a folder, against which planning checks its files.

    Leaves out .md and .png files.
    """
    from bigain.core.files import sha256, write_text

    if not folder.is_dir():
        fail(f"{folder} is not a folder")
    files = sorted(
        p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS" and p.suffix not in (".md", ".png")
    )
    write_text(folder / "SHA256SUMS", "".join(f"{sha256(p)}  {p.relative_to(folder)}\n" for p in files))
