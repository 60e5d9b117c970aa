"""Commands on methods and their cost, and the statistics of real images for pytorch-fid."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bigain.cli.options import METHODS_PANEL, Factor, MethodId, Ratio, fail

app = typer.Typer()
BACKBONES = "sd2, dit_xl2, sd3_medium, sd35_medium, sd35_large, flux1_dev, or the folder of a diffusers pipeline."
command = partial(app.command, rich_help_panel=METHODS_PANEL)


@command()
def methods() -> None:
    """List every method: what it acts on, its strength and properties, and the options that `ID~OPTION-VALUE` sets."""
    from bigain.methods.ids import options_of
    from bigain.methods.method import STRENGTHS
    from bigain.methods.presets import METHODS
    from bigain.methods.properties import properties_of

    typer.echo(f"{'id':18} {'method':20} {'acts on':12} {'strength':24} {'random':8} {'local':6} options")
    for method in METHODS.values():
        properties = properties_of(method)
        draws, local = ("no" if properties.deterministic else "yes"), ("yes" if properties.timestep_local else "no")
        columns = f"{method.id:18} {method.label:20} {method.acts_on:12} {method.strength_kind:24} {draws:8} {local:6} "
        typer.echo(columns + ", ".join(options_of(method)))
    for kind, meaning in STRENGTHS.items():
        typer.echo(f"{kind}: {meaning}")
    typer.echo("random: draws random numbers. local: a prediction depends on no other sample, class or timestep")


@command()
def flops(
    backbone: Annotated[str, typer.Option(help=BACKBONES)],
    method: MethodId = "none",
    ratio: Ratio = None,
    factor: Factor = None,
    level: Annotated[list[int] | None, typer.Option(help="U-Net levels, 0 the highest resolution.")] = None,
    block: Annotated[list[int] | None, typer.Option(help="Blocks of a transformer, from 0.")] = None,
    side: Annotated[int | None, typer.Option(help="Side of the latent; by default the model's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Count the GFLOPs of a forward pass by part, with and without a method (Table 11)."""
    from bigain.measure.flops import architecture, count, prompt_tokens
    from bigain.methods.options import Options

    levels, blocks = tuple(level) if level else None, tuple(block) if block else None
    try:
        model = architecture(backbone)
        tokens = prompt_tokens(backbone, model)
        plain = count(model, "none", side, tokens).as_dict()
        counts = plain
        if method != "none":
            options: Options = {"ratio": ratio, "factor": factor, "levels": levels, "blocks": blocks}
            counts = count(model, method, side, tokens, **options).as_dict()
    except ValueError as error:
        fail(error)
    if as_json:
        typer.echo(json.dumps({"backbone": backbone, "method": method, "ratio": ratio, "factor": factor, **counts}))
        return
    for part in (part for part in counts if part != "sparsity"):
        typer.echo(f"{part.replace('_', ' '):16} {plain[part]:10.2f} {counts[part]:10.2f} G")
    saved = 100 * (1 - counts["total"] / plain["total"])
    typer.echo(f"saved {saved:.2f}% of all; keys and values {100 * counts['sparsity']:.1f}% fewer where compressed")


@command("check-method")
def check_method(
    source: Annotated[str, typer.Argument(help="FILE.py, FILE.py:ID, or an entry point of bigain.methods.")],
) -> None:
    """Test your own methods on random tokens, and report for each required property whether it holds."""
    from bigain.core.messages import unknown
    from bigain.methods import outside

    file, _, chosen = source.partition(".py:")
    try:
        ids = outside.add_methods(f"{file}.py" if chosen else source)
        if chosen and chosen not in ids:
            raise ValueError(f"{file}.py: " + unknown("method", chosen, ids))
    except (OSError, ValueError) as error:
        fail(error)
    from bigain.measure.method_check import check_method as findings_of

    faults = 0
    for id in [chosen] if chosen else ids:
        typer.echo(id)
        for finding in findings_of(outside.registered()[id]):
            faults += finding.fault is not None
            result = "ok" if finding.fault is None else f"FAILS: {finding.fault}"
            typer.echo(f"  {finding.tested}: {result}")
    if faults:
        raise typer.Exit(1)


@command()
def statistics(
    reference: Annotated[Path, typer.Option(help="Features of real images, as a study stores them.")],
    output: Annotated[Path, typer.Option(help="An .npz file with mu and sigma, as pytorch-fid reads it.")],
) -> None:
    """Convert the statistics of real images to pytorch-fid's format.

    `python -m pytorch_fid STATISTICS.npz FOLDER` then computes the FID of a folder of images.
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from bigain.core.files import whole_file
    from bigain.core.outputs import Output, check_outputs

    try:
        check_outputs(
            [Output("--output", output, "statistics for pytorch-fid", _holds_statistics)], [("--reference", reference)]
        )
    except (OSError, ValueError) as error:
        fail(error)
    try:
        stored = load_file(reference)
        if missing := {"mu", "sigma"} - stored.keys():
            raise ValueError(f"it has no {' and no '.join(sorted(missing))}")
    except (OSError, SafetensorError, ValueError) as error:
        fail(f"{reference} holds no statistics of real images: {error}")
    with whole_file(output) as temporary, open(temporary, "wb") as handle:
        np.savez_compressed(handle, mu=stored["mu"], sigma=stored["sigma"])


def _holds_statistics(path: Path) -> bool:
    """Return whether a file holds mu and sigma as pytorch-fid reads them, and nothing else."""
    import numpy as np

    try:
        with np.load(path) as stored:
            return set(stored.files) == {"mu", "sigma"}
    except (AttributeError, OSError, ValueError):
        return False
