"""The commands about a study as a whole: what it costs, what it still needs, and how to get that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bigain.core.places import located

if TYPE_CHECKING:
    from bigain.study.cost import Cost, StudyCost
    from bigain.study.status import Phase
    from bigain.study.study import Study

app = typer.Typer()

ConfigFiles = Annotated[
    list[Path] | None,
    typer.Option("--configfile", help="merged over config/config.yaml, as Snakemake does; may be said several times"),
]
PAPER = Path("config/paper.yaml")


@app.command()
def plan(
    configfile: ConfigFiles = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of tables")] = False,
) -> None:
    """What a study costs, by table and in all: cells, jobs, noise predictions, images, operations, hours, disk."""
    from dataclasses import asdict

    from bigain.study.cost import StudyCost

    made = StudyCost(_study(configfile))
    if as_json:
        parts = [{"group": group, "table": table, **asdict(cost)} for (group, table), cost in made.parts.items()]
        totals = {group: asdict(made.total(group)) for group in made.groups}
        shown = {"parts": parts, "totals": totals, "device": made.device, "disk_gb": made.disk_gb(made.study.cells)}
        typer.echo(json.dumps(shown, indent=2))
        return
    _print_plan(made)


@app.command()
def check(configfile: ConfigFiles = None) -> None:
    """What a study still needs on this machine: weights, data, disk, a GPU. Exit code 1 if anything is missing."""
    from bigain.study.cost import StudyCost
    from bigain.study.requirements import Needs, problems

    study = _study(configfile)
    found = problems(study, StudyCost(study), Needs.of_study(study))
    for problem in found:
        typer.echo(f"- {problem}")
    typer.echo(f"{len(found)} problems" if found else f"{study.name}: everything is there")
    raise typer.Exit(1 if found else 0)


@app.command()
def status(
    configfile: ConfigFiles = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of tables")] = False,
) -> None:
    """How far a study is, running or not: jobs done, failed with the reason, started and left, with their hours."""
    from bigain.study.status import as_dict, phases

    study = _study(configfile)
    found = phases(study)
    if as_json:
        typer.echo(json.dumps({"study": study.name, "stages": [as_dict(stage) for stage in found]}, indent=2))
        return
    _print_status(study.name, found)


@app.command()
def accept(
    parts: Annotated[list[str] | None, typer.Argument(help="parts of the code, or `all` that were changed")] = None,
    new_numbers: Annotated[
        bool, typer.Option("--new-numbers", help="record that their numbers are new: results of before stay outdated")
    ] = False,
) -> None:
    """Record that changed code gives the numbers of before, so that results stay; without names, list what changed.

    Cells of changed code are computed again until then. Exit code 1 if anything was changed and is not recorded.
    """
    from bigain.study import fingerprints

    try:
        fingerprints.accept(fingerprints.changed() if parts == ["all"] else parts or [], new_numbers)
    except ValueError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    changed = fingerprints.changed()
    for part in changed:
        typer.echo(f"{part} was changed since its numbers were recorded")
    typer.echo(f"{len(changed)} parts were changed" if changed else "all code is as recorded")
    raise typer.Exit(1 if changed else 0)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="a backbone or data set of the config, or inception")],
    configfile: ConfigFiles = None,
    archives: Annotated[Path | None, typer.Option(help="the folder with ImageNet's own archives")] = None,
    spec: Annotated[str | None, typer.Option("--spec", help="its settings instead of a config file")] = None,
) -> None:
    """Download a model, a data set or pytorch-fid's Inception, verified; what was cut off goes on."""
    from bigain.datasets import download

    settings = _settings(name, configfile or [PAPER]) if spec is None else json.loads(spec)
    try:
        if name == "inception":
            place = download.inception(Path(settings["weights"]))
        elif "family" in settings:
            place = download.backbone(name, settings)
        else:
            place = download.dataset(name, settings, archives)
    except download.FetchError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{name} is in {place}")


def _study(configfiles: list[Path] | None) -> Study:
    from bigain.study.config import ConfigError
    from bigain.study.study import Study

    try:
        return Study(merged_config(configfiles or []))
    except ConfigError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


def merged_config(configfiles: list[Path]) -> dict[str, Any]:
    """The default config with others merged over it, in their order, as Snakemake merges them."""
    import yaml
    from snakemake.utils import update_config

    merged: dict[str, Any] = {}
    for file in map(located, (Path("config/config.yaml"), *configfiles)):
        if not file.is_file():
            typer.echo(f"error: {file} is missing; `bigain init FOLDER` writes a study's files to a folder", err=True)
            raise typer.Exit(2)
        try:
            update_config(merged, yaml.safe_load(file.read_text(encoding="utf-8")) or {})
        except (yaml.YAMLError, UnicodeDecodeError, AttributeError) as error:
            typer.echo(f"error: {file} is no mapping in YAML: {error}", err=True)
            raise typer.Exit(2) from None
    return merged


def _settings(name: str, configfiles: list[Path]) -> dict[str, Any]:
    """The settings of what is to be fetched, from a config with its defaults."""
    from bigain.core.messages import unknown

    config = _study(configfiles).config
    known = {**config["backbones"], **config["datasets"], "inception": config.get("feature_network", {})}
    if name not in known:
        typer.echo(f"error: {unknown('name', name, known)}", err=True)
        raise typer.Exit(2)
    return known[name]


def _print_plan(made: StudyCost) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"What the study {made.study.name} costs")
    table.add_column("table")
    for head in ("cells", "jobs", "shards", "forwards (M)", "images", "TFLOP", "hours", "disk (GB)"):
        table.add_column(head, justify="right")
    for group in made.groups:
        for (own, name), cost in made.parts.items():
            if own == group:
                table.add_row(f"{group}: {name}" if name else group, *_numbers(cost))
        table.add_row(f"{group}, all", *_numbers(made.total(group)), style="bold", end_section=True)
    if len(made.groups) > 1:
        table.add_row("everything", *_numbers(made.total()), style="bold")
    console = Console(width=120)
    console.print(table)
    for (task, backbone, dataset), count in sorted(made.evaluations().items()):
        console.print(f"{task} with {backbone} on {dataset}: {count} forwards an image", highlight=False)
    disk = made.disk_gb(made.study.cells)
    console.print(f"Hours are of {made.device}, denoiser only. Disk with what methods share: {disk:.1f} GB.")


def _print_status(name: str, found: list[Phase]) -> None:
    from rich.console import Console
    from rich.table import Table

    from bigain.study.status import failure_lines, failures, minutes_silent

    console = Console(width=120)
    for line in failure_lines(failures(found, ended=False)):
        console.print(line, style="bold", highlight=False, markup=False)
    table = Table(title=f"How far the study {name} is")
    table.add_column("stage")
    for head in ("jobs", "done", "outdated", "failed", "started", "images", "hours spent", "hours left"):
        table.add_column(head, justify="right")
    for stage in found:
        counts = [stage.count("done"), stage.count("outdated"), stage.count("failed"), stage.count("started")]
        images = sum(job.images for job in stage.jobs)
        share = f"{100 * sum(job.finished for job in stage.jobs) / images:.0f}%" if images else ""
        spent, left = (f"{getattr(stage, key):.2f}" if images else "" for key in ("spent", "left"))
        table.add_row(stage.name, str(len(stage.jobs)), *(str(count) for count in counts), share, spent, left)
    console.print(table)
    for job in (job for stage in found for job in stage.jobs if job.state == "started"):
        said = (
            f"started, last sign {minutes_silent(job):.0f} min ago: {job.name}, {job.finished} of {job.images} images"
        )
        console.print(said, highlight=False, markup=False)


def _numbers(cost: Cost) -> list[str]:
    counts = (cost.cells, cost.jobs, cost.shards)
    rest = (f"{cost.predictions / 1e6:.2f}", f"{cost.images:,}", f"{cost.tflops:,.0f}")
    return [*(f"{count:,}" for count in counts), *rest, f"{cost.hours:,.1f}", f"{cost.gigabytes:.1f}"]
