"""Commands that verify, seal and remove the files of a study."""

from __future__ import annotations

import json
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bigain.cli.options import STUDY_PANEL, AsJson, ConfigFiles, fail
from bigain.cli.study import study_of

app = typer.Typer()
command = partial(app.command, rich_help_panel=STUDY_PANEL)


@command()
def verify(configfile: ConfigFiles = None, as_json: AsJson = False) -> None:
    """Compare every file of a study with its spec, its checksum and its inputs.

    Lists files that are foreign (of another cell), damaged, outdated (of other settings, code or inputs), unsealed
    (without checksums) or orphaned (of no cell), and exits with status 1 if there are any. Missing files are only
    counted.
    """
    from bigain.core.provenance import digest
    from bigain.reporting.commands import report_files
    from bigain.reporting.verification import verify_rendered
    from bigain.study.products import products
    from bigain.study.verification import as_dict
    from bigain.study.verification import verify as verify_results

    study = study_of(configfile)
    findings = list(verify_results(study))
    findings += verify_rendered(Path(study.reports), report_files(study), digest(study.report_spec()))
    wrong = [finding for finding in findings if finding.state != "missing"]
    count = sum(1 for _ in products(study))
    if as_json:
        typer.echo(json.dumps({"study": study.name, "result_files": count, "findings": as_dict(findings)}, indent=2))
    else:
        for finding in wrong:
            typer.echo(f"{finding.state}: {finding.message}")
        counts = Counter(finding.state for finding in findings)
        summary = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
        typer.echo(f"{study.name}: {count} result files; {summary or 'all intact'}")
    raise typer.Exit(1 if wrong else 0)


@command()
def seal(configfile: ConfigFiles = None) -> None:
    """Add checksums to results of bigain before 0.3 whose specs are still the study's."""
    from bigain.study.sealing import seal as seal_results

    counts = {"sealed": 0, "not sealed": 0}
    for file, problem in seal_results(study_of(configfile)):
        counts["not sealed" if problem else "sealed"] += 1
        typer.echo(f"not sealed: {problem}" if problem else f"sealed {file}")
    typer.echo(", ".join(f"{number} files {outcome}" for outcome, number in counts.items()))


@command()
def clean(
    cells: Annotated[
        list[str] | None, typer.Argument(help="Cells to recompute, as folders below results/<study>/cells.")
    ] = None,
    configfile: ConfigFiles = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
) -> None:
    """Remove files that a study no longer uses, or everything that the named cells have computed.

    Without cells: results and shards of cells and settings that are no longer in the config, and files that the report
    no longer has. With cells: their shards and results, so that the next run computes them again. Lists everything with
    its size and asks before it removes anything.
    """
    from bigain.reporting.commands import report_files
    from bigain.study.cleaning import of_cell, unused
    from bigain.study.config import ConfigError

    study = study_of(configfile)
    try:
        removable = [item for cell in cells or () for item in of_cell(study, cell)]
    except ConfigError as error:
        fail(error)
    if not cells:
        removable = unused(study, report_files(study))
    for item in removable:
        typer.echo(f"{item.bytes / 1e6:10.2f} MB  {item.path}  ({item.reason})")
    total = sum(item.bytes for item in removable) / 1e6
    typer.echo(f"{study.name}: {len(removable)} files and folders, {total:.2f} MB")
    if not removable:
        return
    if not yes and not sys.stdin.isatty():
        typer.echo("nothing was removed; --yes removes them")
    elif yes or typer.confirm("Remove them?"):
        for item in removable:
            item.remove()
        typer.echo(f"{total:.2f} MB freed")
