"""The command that compares a new method with the stored outcomes of a study."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigain.cli.options import METHODS_PANEL, fail

if TYPE_CHECKING:
    from bigain.reporting.compared import Stored
    from bigain.study.cells import Config
    from bigain.study.study import Study

app = typer.Typer()


@app.command(rich_help_panel=METHODS_PANEL)
def compare(
    method: Annotated[str, typer.Argument(help="An id, FILE.py, FILE.py:ID, or an entry point of bigain.methods.")],
    against: Annotated[
        Path, typer.Option(help="Folder of outcomes, or folder of a report that contains `outcomes`.")
    ] = Path("docs/reference"),
    strength: Annotated[
        float | None,
        typer.Option(
            help="Strength; by default, on each backbone, the one nearest to the budget with the most methods."
        ),
    ] = None,
    images: Annotated[int | None, typer.Option(help="Classify only the first N images, and generate none.")] = None,
    backbone: Annotated[list[str] | None, typer.Option(help="Backbone, by default all; may be repeated.")] = None,
    cores: Annotated[int, typer.Option(min=1, help="Number of jobs that run at the same time.")] = 1,
) -> None:
    """Run a method on the images and noise of a stored study, and test it against the methods at the same budget.

    Computes only the cells of the method, in a separate study, results/compare_METHOD. Refuses stored outcomes whose
    settings, models, data or code differ from the current ones.
    """
    from bigain.methods.ids import method_of
    from bigain.reporting.compared import Stored
    from bigain.study.comparing import StoredStudy, method_named
    from bigain.study.config import ConfigError
    from bigain.study.study import Study

    try:
        folder = _folder_of(against)
        name, sources = method_named(method)
        if name == "none":
            raise ValueError("the uncompressed model is the baseline of every comparison: name another method")
        if strength is not None:
            method_of(name).check_strength(strength)
        study = StoredStudy(folder)
        tasks = ("classification",) if images is not None else ("classification", "generation")
        pairs = study.pairs(backbone, tasks)
        study.check_images(pairs, images)
        study.refuse_other_code(pairs)
        _check_outside(name, sources)
        stored = Stored(folder)
        places = dict.fromkeys(cell.backbone for cell in pairs)
        strengths = {place: _strength(name, strength, place, stored, study.now.config) for place in places}
        for place, chosen in strengths.items():
            typer.echo(f"{place}: {name} at {chosen:g}", err=True)
        new = Study(study.with_method(name, sources, strengths, pairs, images))
    except (ConfigError, OSError, ValueError) as error:
        fail(error)
    _run(new, cores)
    _print(name, new, stored)


def _folder_of(against: Path) -> Path:
    """Return the named folder of outcomes, or the one inside it; relative paths are also looked up in the package.

    Raises FileNotFoundError if neither holds outcomes.json.
    """
    from bigain.core.places import located
    from bigain.study.outcomes import NAME

    place = located(against)
    for folder in (place / "outcomes", place):
        if (folder / NAME).is_file():
            return folder
    raise FileNotFoundError(
        f"--against {against}: neither it nor its folder `outcomes` holds {NAME}, which `bigain outcomes` writes"
    )


def _check_outside(name: str, sources: list[str]) -> None:
    """Raise ValueError naming a property that a method from outside lacks, before a study runs with it."""
    if not sources:
        return
    from bigain.measure.method_check import check_method
    from bigain.methods import outside

    for finding in check_method(outside.registered()[name.split("~")[0]]):
        if finding.fault is not None:
            raise ValueError(
                f"{name}: fails `{finding.tested}`: {finding.fault}; `bigain check-method {sources[0]}` tests all of it"
            )


def _strength(method: str, strength: float | None, backbone: str, stored: Stored, config: Config) -> float | int:
    """Return the strength on a backbone: the named one, or the one nearest to the budget with the most methods."""
    from bigain.methods.ids import method_of

    if strength is not None:
        value = method_of(method).check_strength(strength)
        assert value is not None
        return value
    if method_of(method).acts_on == "model":
        return round(stored.budget(backbone), 1)
    from bigain.core.places import located
    from bigain.jobs.common import backbone_of, sites_of
    from bigain.measure.budgets import nearest_strength
    from bigain.measure.flops import architecture, prompt_tokens
    from bigain.study.spec_parts import backbone_part

    part = backbone_part(config, backbone, compressed=True)
    folder = str(located(part["path"]))
    model, budget = architecture(folder), stored.budget(backbone)
    # FLUX's own config has no sample size.
    side = backbone_of({**part, "device": "cpu"}).latent_shape[-1] if part["family"] == "flux" else None
    return nearest_strength(model, method, budget, sites_of(part), side, prompt_tokens(folder, model)).strength


def _run(study: Study, cores: int) -> None:
    """Compute the metrics of all cells, and the costs on their backbones, with Snakemake in the working directory."""
    import yaml

    from bigain.core.files import write_text
    from bigain.core.places import importing_this_package, located

    config = Path(study.results, "config.yaml")
    write_text(config, yaml.safe_dump(study.config, sort_keys=False))
    targets = [*study.score_files(), *(f"{study.results}/efficiency/{name}.csv" for name in study.backbones())]
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--snakefile", str(located("Snakefile"))]
    command += [*targets, "--configfile", str(config)]
    environment = {**os.environ, **importing_this_package()}
    if code_of(command, environment):
        fail(f"{study.results} is not finished, for the reason above; run the same command again to continue", code=1)


def code_of(command: list[str], environment: dict[str, str]) -> int:
    """Run Snakemake and return its exit code.

    An interrupt is Snakemake's to handle: it ends its jobs and unlocks its folder, which `subprocess.run` would not let
    it do. A terminal sends the interrupt to both; otherwise it is passed on.
    """
    with subprocess.Popen(command, env=environment, stdout=sys.stderr) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                if not sys.stdin.isatty():
                    process.send_signal(signal.SIGINT)


def _print(method: str, study: Study, stored: Stored) -> None:
    import pandas as pd

    from bigain.core.provenance import checked
    from bigain.reporting.compared import compare as compared
    from bigain.reporting.compared import lines, read_new, saved_by
    from bigain.reporting.frames import at_strength

    saved, faster = dict[str, float | None](), dict[str, float]()
    for cell in study.cells:
        file = Path(study.results, "efficiency", f"{cell.backbone}.csv")
        checked(file)
        measured = pd.read_csv(file)
        saved[cell.backbone] = saved_by(measured)[method, cell.strength]
        timed = at_strength(measured[measured["method"] == method], cell.strength)
        faster[cell.backbone] = float(timed["speedup"].iloc[0])
    new = read_new([Path(file) for file in study.score_files()])
    comparisons = compared(stored, new, method, saved)
    for comparison in comparisons:
        backbone = comparison.cell.backbone
        typer.echo("\n".join(lines(comparison, saved[backbone], faster[backbone])))
    if not comparisons:
        fail("the new cells share no images with the stored cells, so there is nothing to test", code=1)
    typer.echo("Paired on the same images and noise. Holm: p-value adjusted for all rows of the table.")
    for line in stored.other_environments(new):
        typer.echo(f"note: computed in another environment than the stored outcomes; digits may differ: {line}")
