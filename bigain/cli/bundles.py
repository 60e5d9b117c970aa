"""Commands that carry a study's finished work to another machine or to a folder of outcomes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bigain.cli.options import STUDY_PANEL, ConfigFiles, fail
from bigain.cli.study import study_of

app = typer.Typer()
command = partial(app.command, rich_help_panel=STUDY_PANEL)
SHOWN = 5  # cells named in a message


@command("export")
def export_(
    output: Annotated[Path, typer.Option("--output", help="Bundle to write, a tar file.")],
    configfile: ConfigFiles = None,
) -> None:
    """Pack a study's finished work into one tar with checksums, to continue elsewhere.

    The bundle holds the inputs that all methods share, calibrations, and the shards of every cell. The study may be
    running.
    """
    from bigain.core.bundles import is_bundle
    from bigain.core.outputs import Output, check_outputs
    from bigain.core.places import located
    from bigain.study.carrying import export

    study = study_of(configfile)
    try:
        read = [("--configfile", located(file)) for file in configfile or ()]
        check_outputs([Output("--output", output, "a bundle that `bigain export` wrote", is_bundle)], read)
    except (OSError, ValueError) as error:
        fail(error)
    try:
        carried = export(study, output)
    except (OSError, ValueError) as error:
        fail(error, code=1)
    share = f"{carried.finished:,} of {carried.images:,} images of its cells"
    typer.echo(f"{output}: {carried.files} files of {study.name}, {carried.bytes / 1e6:.1f} MB, {share}")


@command("import")
def import_(bundle: Annotated[Path, typer.Argument(help="Bundle that `bigain export` wrote.")]) -> None:
    """Verify a bundle, then unpack it into results/; existing files are never replaced.

    The next run of the study, with the same config and code, finds the shards and computes only the missing images.
    """
    from bigain.core.bundles import unpack

    try:
        manifest, written = unpack(bundle)
    except (OSError, ValueError) as error:
        fail(error, code=1)
    there = len(manifest["files"]) - len(written)
    typer.echo(f"{bundle}: {len(written)} files of {manifest['study']} unpacked, {there} were there already")


@command()
def outcomes(
    folder: Annotated[Path, typer.Argument(help="Folder to write; the report is rendered beside it.")],
    configfile: ConfigFiles = None,
    take_from: Annotated[
        list[Path] | None, typer.Option(help="Outcomes of another study from which to take cells; may be repeated.")
    ] = None,
) -> None:
    """Write the data behind a study's report to a small folder, from which the report is rendered without a model.

    The folder holds the metrics and per-image outcomes of all finished cells, measurements and probes, with checksums
    and a data dictionary. Cells already in the folder stay if their settings and code are still the study's, so a study
    can be published part by part. --take-from adds cells of another study that this study would compute identically.
    `make showcase` renders the tables, figures and page of docs/decisive from such a folder.
    """
    from bigain.jobs.collect import collect, collected_before, taken_from
    from bigain.study.outcomes import NAME
    from bigain.study.publishing import RESULTS, EarlierOutcomes, FinishedStudy, whole_folder

    study = study_of(configfile)
    try:
        others = []
        for other in take_from or ():
            if not (other / NAME).exists():
                raise ValueError(f"{other} holds no outcomes: it has no {NAME}")
            others.append(EarlierOutcomes(other))
        finished = FinishedStudy(study, EarlierOutcomes(folder), others)
        before = collected_before(folder / RESULTS) if finished.kept else {}
        kept = {path: before[path] for path in finished.kept}
        specs = finished.spec_digests()
        for other in dict.fromkeys(finished.taken.values()):
            paths = [path for path, source in finished.taken.items() if source == other]
            kept |= taken_from(other / RESULTS, {path: specs[path] for path in paths})
        with whole_folder(folder) as temporary:
            collect(finished.collect_spec(), Path(study.results, "cells"), temporary / RESULTS, kept)
            published = finished.publish(temporary)
    except (OSError, ValueError) as error:
        fail(error, code=1)
    kept_cells = f" ({published.kept_cells} kept from before)" if published.kept_cells else ""
    if published.taken_cells:
        kept_cells += f" ({published.taken_cells} taken from other studies)"
    cells = f"{published.cells} of {published.planned_cells} cells{kept_cells}"
    typer.echo(f"{folder}: {cells}, {published.bytes / 1e6:.2f} MB")
    if dropped := published.dropped_cells:
        named = ", ".join(dropped[:SHOWN]) + (f" and {len(dropped) - SHOWN} more" if dropped[SHOWN:] else "")
        typer.echo(f"dropped, for they are not in the study or of other settings or code: {named}")
    for what in published.not_shown:
        typer.echo(f"not shown: {what}")
