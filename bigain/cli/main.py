"""`bigain ...`: what every job runs, and what a person runs by hand. A command imports a wing only when it needs it."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from bigain.cli import embedded, init, report, study
from bigain.cli.options import Log, Output, SpecText, logged
from bigain.core.gpu_locks import locked_gpu

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(study.app)
app.add_typer(report.app)
app.add_typer(embedded.app)
app.add_typer(init.app)
app.add_typer(embedded.train_app, name="train")

Chunks = Annotated[list[Path], typer.Argument(help="the cell's job files; each has its `.json` beside it")]


@contextmanager
def _model_job(spec_text: str, log: Path | None) -> Iterator[dict[str, Any]]:
    """What is around every model job: its log, a GPU of its own, its threads; yields the spec."""
    with logged(log):
        spec = json.loads(spec_text)
        device = (spec.get("backbone") or spec)["device"]
        with nullcontext() if device == "cpu" else locked_gpu():
            import torch

            torch.set_num_threads(spec["threads"])
            yield spec


def _say_progress(spec_text: str, output: Path) -> None:
    from bigain.core.progress import progress_line

    plan = Path(json.loads(spec_text)["results"]) / "plan.json"
    if plan.exists():
        typer.echo(progress_line(plan, output), err=True)


@app.command("encode-images")
def encode_images(spec: SpecText, output: Output, log: Log = None) -> None:
    """Encode a data set's images to latents, shared by all methods."""
    with _model_job(spec, log) as given:
        from bigain.jobs import encode

        encode.encode_images(given, output)


@app.command("encode-conditions")
def encode_conditions(spec: SpecText, output: Output, log: Log = None) -> None:
    """Encode candidates and captions, shared by all methods."""
    with _model_job(spec, log) as given:
        from bigain.jobs import encode

        encode.encode_conditions(given, output)


@app.command("reference-features")
def reference_features(spec: SpecText, output: Output, log: Log = None) -> None:
    """Compute the features of a data set's real images."""
    with _model_job(spec, log) as given:
        from bigain.jobs import reference

        reference.reference_features(given, output)


@app.command()
def statistics(
    reference: Annotated[Path, typer.Option(help="features of real images, as the study stores them")],
    output: Annotated[Path, typer.Option(help="an .npz file with mu and sigma, as pytorch-fid reads it")],
) -> None:
    """Give the real images' statistics to pytorch-fid: `python -m pytorch_fid STATISTICS.npz FOLDER`."""
    import numpy as np
    from safetensors.numpy import load_file

    from bigain.core.files import whole_file

    stored = load_file(reference)
    with whole_file(output) as temporary, open(temporary, "wb") as handle:
        np.savez_compressed(handle, mu=stored["mu"], sigma=stored["sigma"])


@app.command()
def calibrate(spec: SpecText, output: Output, log: Log = None) -> None:
    """Calibrate a structural method (DiP-GO, MosaicDiff) on images of a training split."""
    with _model_job(spec, log) as given:
        from bigain.jobs import calibrate as job

        job.calibrate(given, output)


@app.command()
def classify(
    spec: SpecText,
    latents: Annotated[Path, typer.Option()],
    conditions: Annotated[Path, typer.Option()],
    output: Output,
    info: Annotated[Path, typer.Option()],
    log: Log = None,
) -> None:
    """Classify a range of images of one cell: per-trial errors."""
    with _model_job(spec, log) as given:
        from bigain.jobs import classify as job

        job.classify(given, latents, conditions, output, info)
    _say_progress(spec, output)


@app.command()
def generate(
    spec: SpecText,
    conditions: Annotated[Path, typer.Option()],
    output: Output,
    info: Annotated[Path, typer.Option()],
    log: Log = None,
) -> None:
    """Generate a range of images of one cell: their features, and the first few images."""
    with _model_job(spec, log) as given:
        from bigain.jobs import generate as job

        job.generate(given, conditions, output, info)
    _say_progress(spec, output)


@app.command()
def efficiency(spec: SpecText, output: Output, log: Log = None) -> None:
    """Count and time a forward pass under every method of the study on one backbone."""
    with _model_job(spec, log) as given:
        from bigain.jobs import efficiency as job

        job.efficiency(given, output)


@app.command("probe-tokens")
def probe_tokens(spec: SpecText, latents: Annotated[Path, typer.Option()], output: Output, log: Log = None) -> None:
    """Look at the tokens of one block: how detailed they are, which are merged away (Figures 2 and 3)."""
    with _model_job(spec, log) as given:
        from bigain.jobs import probes

        probes.token_maps(given, latents, output)


@app.command("probe-spectrum")
def probe_spectrum(
    spec: SpecText,
    latents: Annotated[Path, typer.Option()],
    conditions: Annotated[Path, typer.Option()],
    output: Output,
    log: Log = None,
) -> None:
    """Measure the paired class differences band by band under every method (Theorem 1)."""
    with _model_job(spec, log) as given:
        from bigain.jobs import probes

        probes.spectrum(given, latents, conditions, output)


@app.command("score-classification")
def score_classification(chunks: Chunks, spec: SpecText, output: Output, log: Log = None) -> None:
    """Acc@1 and mAP of one cell."""
    with logged(log):
        from bigain.jobs import score

        score.score_classification(json.loads(spec), chunks, output)


@app.command("score-generation")
def score_generation(
    chunks: Chunks,
    spec: SpecText,
    reference: Annotated[Path, typer.Option()],
    output: Output,
    log: Log = None,
) -> None:
    """The Fréchet distance of one cell."""
    with logged(log):
        from bigain.jobs import score

        score.score_generation(json.loads(spec), reference, chunks, output)


@app.command()
def collect(
    files: Annotated[list[Path], typer.Argument(help="metrics files")], output: Output, log: Log = None
) -> None:
    """All cells' metrics in one tidy table."""
    with logged(log):
        from bigain.jobs import score

        score.collect(files, output)


@app.command(hidden=True)
def warm(socket: Annotated[Path, typer.Option(help="where to wait for commands")]) -> None:
    """Run commands in forks of this process, until standard input ends."""
    from bigain.cli.forkserver import serve

    serve(socket, _exit_code)


def main(arguments: list[str] | None = None) -> None:
    """Run a command; one that needs a package which is not installed names the extra that brings it."""
    try:
        app(arguments)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("bigain"):
            raise
        typer.echo(f'error: {error.name} is not installed. Studies need it: pip install "bigain[study]"', err=True)
        raise SystemExit(2) from None


def _exit_code(arguments: list[str]) -> int:
    """Run a command as its own process would: what that process would exit with."""
    try:
        main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:
        traceback.print_exc()
        return 1
    return 0


@app.command()
def methods() -> None:
    """List every method: what it acts on, the strength it takes, and the options that `ID~OPTION-VALUE` sets."""
    from bigain.methods.ids import FIELDS, VARIANTS
    from bigain.methods.method import STRENGTHS
    from bigain.methods.presets import METHODS

    typer.echo(f"{'id':18} {'method':20} {'acts on':12} {'strength':24} options")
    for method in METHODS.values():
        options = [name for name in VARIANTS if name in method.options or name in FIELDS[method.acts_on]]
        columns = f"{method.id:18} {method.label:20} {method.acts_on:12} {method.strength_kind:24} "
        typer.echo(columns + ", ".join(options))
    for kind, meaning in STRENGTHS.items():
        typer.echo(f"{kind}: {meaning}")


@app.command()
def flops(
    backbone: Annotated[str, typer.Option(help="sd2, dit_xl2, or the folder of a diffusers pipeline")],
    method: Annotated[str, typer.Option(help="as `bigain methods` lists them, variants allowed")] = "none",
    ratio: Annotated[float | None, typer.Option(help="merge ratio")] = None,
    factor: Annotated[int | None, typer.Option(help="downsample factor")] = None,
    level: Annotated[list[int] | None, typer.Option(help="U-Net levels, 0 the highest resolution")] = None,
    block: Annotated[list[int] | None, typer.Option(help="DiT blocks, from 0")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of a table")] = False,
) -> None:
    """GFLOPs of one forward pass by part (Table 11), beside the uncompressed model's; needs no weights."""
    from bigain.measure.flops import architecture, count

    places = {"levels": tuple(level) if level else None, "blocks": tuple(block) if block else None}
    try:
        model = architecture(backbone)
        plain = count(model, "none").as_dict()
        found = plain if method == "none" else count(model, method, ratio=ratio, factor=factor, **places).as_dict()
    except ValueError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    saved = 100 * (1 - found["total"] / plain["total"])
    if as_json:
        typer.echo(json.dumps({"backbone": backbone, "method": method, "ratio": ratio, "factor": factor, **found}))
        return
    for part in (part for part in found if part != "sparsity"):
        typer.echo(f"{part.replace('_', ' '):16} {plain[part]:10.2f} {found[part]:10.2f} G")
    typer.echo(f"saved {saved:.2f}% of all; keys and values {100 * found['sparsity']:.1f}% fewer where compressed")


@app.command("flops-table")
def flops_table(output: Output = Path("bigain/study/flops.csv")) -> None:
    """Count every method at the paper's strengths on SD 2.0 and DiT-XL/2; the planner reads the table."""
    from bigain.measure.flops_table import write

    write(output)


@app.command()
def checksums(folder: Annotated[Path, typer.Argument()]) -> None:
    """Write SHA256SUMS of a folder, but for its pages and pictures; planning compares the files with it."""
    from bigain.core.files import sha256, write_text

    files = sorted(
        p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS" and p.suffix not in (".md", ".png")
    )
    write_text(folder / "SHA256SUMS", "".join(f"{sha256(p)}  {p.relative_to(folder)}\n" for p in files))
