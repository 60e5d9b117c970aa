"""Commands on a study as a whole: its cost, what it still needs and how to get it, and its progress."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bigain.cli.options import STUDY_PANEL, AsJson, ConfigFiles, fail, json_object
from bigain.core.places import located

if TYPE_CHECKING:
    from bigain.study.cost import Cost, StudyCost
    from bigain.study.status import Phase
    from bigain.study.study import Study

app = typer.Typer()
command = partial(app.command, rich_help_panel=STUDY_PANEL)

PUBLISHED = [Path("config/paper.yaml"), Path("config/today.yaml")]  # studies of models that can be fetched
WIDTH = 120  # of printed tables


@command()
def plan(configfile: ConfigFiles = None, as_json: AsJson = False) -> None:
    """Show the cost of a study table by table: jobs, noise predictions, images, operations, hours, disk."""
    from dataclasses import asdict

    from bigain.study.cost import StudyCost

    study_cost = StudyCost(study_of(configfile))
    if not as_json:
        _print_cost(study_cost)
        return
    parts = [{"group": group, "table": table, **asdict(cost)} for (group, table), cost in study_cost.parts.items()]
    totals = {group: asdict(study_cost.total(group)) for group in study_cost.groups}
    disk = study_cost.disk_gb(study_cost.study.cells)
    typer.echo(json.dumps({"parts": parts, "totals": totals, "device": study_cost.device, "disk_gb": disk}, indent=2))


@command()
def check(configfile: ConfigFiles = None) -> None:
    """List what a study still needs on this machine: weights, data, disk space, a GPU.

    Once the models and data are there, it also lists reductions of operations that a structural method cannot reach.
    Exits with status 1 if anything is missing.
    """
    from bigain.study.cost import StudyCost
    from bigain.study.requirements import Needs, missing_inputs, notes, problems

    study = study_of(configfile)
    for note in notes(study):
        typer.echo(f"note: {note}")
    needs = Needs.of_study(study)
    missing = problems(study, StudyCost(study), needs)
    if not missing_inputs(study, needs):
        missing += _unreachable_reductions(study)
    for problem in missing:
        typer.echo(f"- {problem}")
    typer.echo(f"{len(missing)} problems" if missing else f"{study.name}: nothing is missing")
    raise typer.Exit(1 if missing else 0)


def _unreachable_reductions(study: Study) -> list[str]:
    """Return a line per backbone, task and structural method whose reduction no calibration can reach."""
    structural = {study.calibration_spec(cell.path): cell for cell in reversed(study.cells) if cell.structural}
    if not structural:
        return []
    from bigain.jobs.reductions import check_reduction

    lines = []
    for spec, cell in reversed(structural.items()):
        try:
            check_reduction(json.loads(spec))
        except ValueError as error:
            lines.append(f"strengths.flops_reduction_percent: {cell.task}, {cell.backbone}, {cell.dataset}: {error}")
    return list(dict.fromkeys(lines))


@command()
def fetch(
    name: Annotated[str, typer.Argument(help="A backbone or data set of the config, or inception.")],
    configfile: ConfigFiles = None,
    archives: Annotated[Path | None, typer.Option(help="Folder with ImageNet's original archives.")] = None,
    spec: Annotated[
        str | None,
        typer.Option(
            "--spec", help="Settings of the backbone or data set as JSON, instead of a config.", callback=json_object
        ),
    ] = None,
) -> None:
    """Download and verify a model, a data set or pytorch-fid's Inception.

    An interrupted download resumes where it stopped.
    """
    from bigain.datasets import download

    settings = _settings(name, configfile or PUBLISHED) if spec is None else _spec_settings(name, spec)
    try:
        if name == "inception":
            path = download.inception(Path(settings["weights"]))
        elif "family" in settings:
            path = download.backbone(name, settings)
        else:
            path = download.dataset(name, settings, archives)
    except download.FetchError as error:
        fail(error, code=1)
    typer.echo(f"{name} is in {path}")


@command()
def status(configfile: ConfigFiles = None, as_json: AsJson = False) -> None:
    """Show the progress of a study: jobs done, failed (with the reason), started and left, and the hours left."""
    from bigain.study.status import as_dict, phases

    study = study_of(configfile)
    progress = phases(study)
    if as_json:
        typer.echo(json.dumps({"study": study.name, "phases": [as_dict(phase) for phase in progress]}, indent=2))
        return
    _print_status(study.name, progress)


def study_of(configfiles: list[Path] | None) -> Study:
    """Return the study of the default config with others merged over it; print an error and exit if invalid."""
    from bigain.reporting.contents import check_report_files
    from bigain.study.config import ConfigError
    from bigain.study.study import Study

    try:
        study = Study(_on_planned_device(merged_config(configfiles or [])))
        check_report_files(study.config)
    except ConfigError as error:
        fail(error)
    return study


def _on_planned_device(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config with the device that `auto` meant when the study was last started.

    Without such a plan, `auto` means what it would mean for a run on this machine.
    """
    from bigain.core.files import read_json
    from bigain.study.requirements import device_here

    if config.get("device", "auto") != "auto":
        return config
    try:
        return {**config, "device": read_json(f"results/{config.get('study')}/plan.json").get("device", "auto")}
    except (AttributeError, OSError, ValueError):
        return {**config, "device": device_here("auto")}


def merged_config(configfiles: list[Path]) -> dict[str, Any]:
    """Return the default config with others merged over it in their order, as Snakemake merges them."""
    from snakemake.utils import update_config

    from bigain.core.yaml_files import read_yaml

    merged: dict[str, Any] = {}
    for file in map(located, (Path("config/config.yaml"), *configfiles)):
        if not file.is_file():
            fail(f"{file} is missing; `bigain init FOLDER` writes a study's files to a folder")
        try:
            content = read_yaml(file)
        except ValueError as error:
            fail(error)
        if not isinstance(content, dict | None):
            fail(f"{file} is not a mapping in YAML")
        update_config(merged, content or {})
    return merged


def _settings(name: str, configfiles: list[Path]) -> dict[str, Any]:
    """Return the settings of something to download, from a config with its defaults."""
    from bigain.core.messages import unknown

    config = study_of(configfiles).config
    by_name = {**config["backbones"], **config["datasets"], "inception": config.get("feature_network", {})}
    if name not in by_name:
        fail(unknown("name", name, by_name))
    return by_name[name]


def _spec_settings(name: str, spec: str) -> dict[str, Any]:
    """Return the settings of a download from --spec; print an error and exit if a key is missing or wrong."""
    from bigain.core.validation import validate
    from bigain.datasets import SOURCES

    settings = json.loads(spec)
    text: dict[str, Any] = {"type": "string"}
    optional: dict[str, Any] = {"type": ["string", "null"]}
    if name == "inception":
        needed = {"weights": text}
    elif "family" in settings:
        needed = {"family": text, "hub": optional, "revision": optional, "path": text}
    else:
        needed = {"reader": {"enum": list(SOURCES)}, "path": text}
    try:
        validate("--spec", settings, needed)
    except ValueError as error:
        fail(error)
    return settings


def _print_cost(study_cost: StudyCost) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"What the study {study_cost.study.name} costs")
    table.add_column("table")
    for head in ("cells", "jobs", "shards", "forwards (M)", "images", "TFLOP", "hours", "disk (GB)"):
        table.add_column(head, justify="right")
    for group in study_cost.groups:
        for (section, name), cost in study_cost.parts.items():
            if section == group:
                table.add_row(f"{group}: {name}" if name else group, *_numbers(cost))
        table.add_row(f"{group}, all", *_numbers(study_cost.total(group)), style="bold", end_section=True)
    if len(study_cost.groups) > 1:
        table.add_row("everything", *_numbers(study_cost.total()), style="bold")
    console = Console(width=WIDTH)
    console.print(table)
    for (task, backbone, dataset), count in sorted(study_cost.evaluations().items()):
        console.print(f"{task} with {backbone} on {dataset}: {count} forward passes per image", highlight=False)
    disk = study_cost.disk_gb(study_cost.study.cells)
    console.print(f"Hours are for {study_cost.device}, denoiser only. Disk, with shared inputs: {disk:.1f} GB.")


def _numbers(cost: Cost) -> list[str]:
    counts = (cost.cells, cost.jobs, cost.shards)
    rest = (f"{cost.predictions / 1e6:.2f}", f"{cost.images:,}", f"{cost.tflops:,.0f}")
    return [*(f"{count:,}" for count in counts), *rest, f"{cost.hours:,.1f}", f"{cost.gigabytes:.1f}"]


def _print_status(name: str, progress: list[Phase]) -> None:
    from rich.console import Console
    from rich.table import Table

    from bigain.study.status import failure_lines, failures, minutes_silent

    console = Console(width=WIDTH)
    for line in failure_lines(failures(progress)):
        console.print(line, style="bold", highlight=False, markup=False)
    table = Table(title=f"Progress of the study {name}")
    table.add_column("phase")
    for head in ("jobs", "done", "outdated", "failed", "started", "images", "hours spent", "hours left"):
        table.add_column(head, justify="right")
    for phase in progress:
        counts = [phase.count("done"), phase.count("outdated"), phase.count("failed"), phase.count("started")]
        images = sum(job.images for job in phase.jobs)
        share = f"{100 * sum(job.finished for job in phase.jobs) / images:.0f}%" if images else ""
        spent, left = (f"{hours:.2f}" if images else "" for hours in (phase.spent, phase.left))
        table.add_row(phase.name, str(len(phase.jobs)), *(str(count) for count in counts), share, spent, left)
    console.print(table)
    for job in (job for phase in progress for job in phase.jobs if job.state == "started"):
        silent = f"last sign {minutes_silent(job):.0f} min ago"
        line = f"started, {silent}: {job.name}, {job.finished} of {job.images} images"
        console.print(line, highlight=False, markup=False)
