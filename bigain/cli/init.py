"""`bigain init`: write the workflow and the embedded study to a folder where they can be run and changed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from bigain.cli.options import STUDY_PANEL, fail
from bigain.core.places import PACKAGE, project

app = typer.Typer()

FILES = ("Snakefile", "workflow", "profiles", "config", "resources")
REPOSITORY_SCHEMA = "../bigain/study/config.schema.json"  # as a config in a checkout names it


@app.command(rich_help_panel=STUDY_PANEL)
def init(folder: Annotated[Path, typer.Argument(help="Folder, created if it does not exist.")]) -> None:
    """Write the workflow, its configs, and the embedded models and data to a folder.

    Existing files are never overwritten.
    """
    existing = [str(folder / name) for name in FILES if (folder / name).exists()]
    if existing:
        fail(f"{', '.join(existing)} would be overwritten: choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"{folder} cannot be created: {error.strerror}")
    for name in FILES:
        source = project() / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    for config in (folder / "config").glob("*.yaml"):
        _point_to_schema(config)
    typer.echo(f"The embedded study is in {folder}; config/README.md explains its settings. To run it:")
    typer.echo(f"  cd {folder} && snakemake --cores all")


def _point_to_schema(config: Path) -> None:
    """Let editors complete a config from the schema of this package."""
    schema = PACKAGE / "study" / "config.schema.json"
    text = config.read_text(encoding="utf-8").replace(REPOSITORY_SCHEMA, str(schema), 1)
    config.write_text(text, encoding="utf-8")
