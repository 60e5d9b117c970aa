"""The commands about a study as a whole: what it costs, what it still needs, and how to get that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from bigain.study.plan import Cost, Plan
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

    from bigain.study.plan import Plan

    made = Plan(_study(configfile))
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
    from bigain.study.plan import Plan
    from bigain.study.requirements import Needs, problems

    study = _study(configfile)
    found = problems(study, Plan(study), Needs.of_study(study))
    for problem in found:
        typer.echo(f"- {problem}")
    typer.echo(f"{len(found)} problems" if found else f"{study.name}: everything is there")
    raise typer.Exit(1 if found else 0)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="a backbone or data set of the config, or inception")],
    configfile: ConfigFiles = None,
    archives: Annotated[Path | None, typer.Option(help="the folder with ImageNet's own archives")] = None,
    spec: Annotated[str | None, typer.Option("--spec", help="its settings instead of a config file")] = None,
) -> None:
    """Download a model, a data set or pytorch-fid's Inception, verified; what was cut off goes on."""
    from bigain import fetch as fetching

    settings = _settings(name, configfile or [PAPER]) if spec is None else json.loads(spec)
    try:
        if name == "inception":
            place = fetching.inception(Path(settings["weights"]))
        elif "family" in settings:
            place = fetching.backbone(name, settings)
        else:
            place = fetching.dataset(name, settings, archives)
    except fetching.FetchError as error:
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
    for file in (Path("config/config.yaml"), *configfiles):
        if not file.is_file():
            typer.echo(f"error: {file} is missing; studies are run from the top folder of the repository", err=True)
            raise typer.Exit(2)
        update_config(merged, yaml.safe_load(file.read_text(encoding="utf-8")))
    return merged


def _settings(name: str, configfiles: list[Path]) -> dict[str, Any]:
    """The settings of what is to be fetched, from a config with its defaults."""
    from bigain.methods import unknown

    config = _study(configfiles).config
    known = {**config["backbones"], **config["datasets"], "inception": config.get("feature_network", {})}
    if name not in known:
        typer.echo(f"error: {unknown('name', name, known)}", err=True)
        raise typer.Exit(2)
    return known[name]


def _print_plan(made: Plan) -> None:
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


def _numbers(cost: Cost) -> list[str]:
    counts = (cost.cells, cost.jobs, cost.shards)
    rest = (f"{cost.predictions / 1e6:.2f}", f"{cost.images:,}", f"{cost.tflops:,.0f}")
    return [*(f"{count:,}" for count in counts), *rest, f"{cost.hours:,.1f}", f"{cost.gigabytes:.1f}"]
