"""The command that computes how many images the claims need."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bigain.cli.options import STUDY_PANEL, AsJson, ConfigFiles, fail
from bigain.cli.study import WIDTH, study_of

if TYPE_CHECKING:
    from bigain.reporting.power import Need, Summary

app = typer.Typer()
command = partial(app.command, rich_help_panel=STUDY_PANEL)


@command()
def power(
    configfile: ConfigFiles = None,
    pilot: Annotated[
        Path | None, typer.Option(help="results.parquet of a study with the same cells, or its outcomes.")
    ] = None,
    discordance: Annotated[
        list[float] | None,
        typer.Option(help="Without a pilot: share of images that only one of two methods gets right; may be repeated."),
    ] = None,
    difference: Annotated[
        float | None, typer.Option(help="Difference to show, in points; overrides the claims' margins.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how many images each claim needs, what the study as configured can show, and what that costs.

    Every comparison of a claim is to be decided with 80% power at a level of 5%. Without a pilot, the discordances are
    the two that the embedded models showed between similar and between dissimilar methods.
    """
    from bigain.reporting.claims import read_claims_file
    from bigain.reporting.package_files import claims_file
    from bigain.reporting.power import DISCORDANCE, needs, read_pilot, summaries
    from bigain.study.cost import StudyCost

    study = study_of(configfile)
    try:
        known = None if pilot is None else read_pilot(pilot)
        file = read_claims_file(claims_file(study.config))
        needed = needs(study, file, known, discordance or DISCORDANCE, difference)
    except ValueError as error:
        fail(error)
    if as_json:
        typer.echo(json.dumps([_as_dict(need) for need in needed], indent=2))
    else:
        _print(study.name, summaries(needed), StudyCost(study).device)


def _as_dict(need: Need) -> dict[str, Any]:
    cell, than = need.comparison.cell, need.comparison.than
    numbers = {"shows": need.shows, "difference": need.difference, "needed": need.needed, "images": need.images}
    return {
        "claim": need.claim,
        "claimed": need.comparison.claimed,
        "metric": cell.metric,
        "backbone": cell.backbone,
        "dataset": cell.dataset,
        "method": cell.method,
        "than": than.method,
        "strengths": need.comparison.strengths,
        "spread": need.spread.source,
        "discordance": need.spread.discordance,
        **{name: value if value is None or math.isfinite(value) else None for name, value in numbers.items()},
        "hours": sum(need.hours.values()),
    }


def _print(study: str, rows: list[Summary], device: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"What the study {study} can show, with 80% power")
    table.add_column("claim", no_wrap=True, min_width=26)
    for head in ("metric", "discordance"):
        table.add_column(head)
    for head in ("pairs", "images", "show", "to show", "needed", "hours", "needed"):
        table.add_column(head, justify="right")
    claim = ""
    for row in rows:
        name = row.claim if row.claim != claim else ""
        counts = (str(len(row.needs)), f"{row.images:,}")
        numbers = (_number(row.shows), _number(row.difference), _count(row.needed))
        hours = (_number(row.hours), _number(row.hours_needed))
        table.add_row(name, row.metric, row.spread, *counts, *numbers, *hours)
        claim = row.claim
    console = Console(width=WIDTH)
    console.print(table)
    if not rows:
        console.print("The study has no comparison of any claim.")
    console.print(
        "images: per cell. show: the smallest difference that every pair can show, in points or units of a distance"
        " (fd, fid). needed: the images per cell with which every pair can show the difference to show, and the hours"
        f" of all cells of the claim with that many. Hours are for {device}, denoiser only.",
        highlight=False,
    )


def _number(value: float | None) -> str:
    if value is None:
        return "?"
    return "more" if math.isinf(value) else f"{value:,.1f}"


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"
