"""Commands that the workflow runs to compute results: model jobs, then metrics. Each imports only what it needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from bigain.cli.options import JOBS_PANEL, Log, Output, SpecText, logged, parsed
from bigain.core.gpu_locks import locked_gpu

app = typer.Typer()
command = partial(app.command, rich_help_panel=JOBS_PANEL)

Latents = Annotated[Path, typer.Option(help="Latents of the data set's images.")]
Conditions = Annotated[Path, typer.Option(help="Encoded candidate prompts and captions of the data set.")]
Info = Annotated[Path, typer.Option(help="File for the provenance of the output: its name plus .json.")]
Outputs = Annotated[
    tuple[Path, Path], typer.Option("--output", help="File to write, and for its provenance: its name plus .json.")
]
Chunks = Annotated[list[Path], typer.Argument(help="Outputs of the cell's jobs, each with its `.json` beside it.")]


@contextmanager
def model_job(spec_text: str, log: Path | None) -> Iterator[Any]:
    """Run a model job with its log, a GPU to itself and its number of threads; yield the parsed spec."""
    with logged(log):
        spec = parsed(spec_text)
        device = (spec.get("backbone") or spec)["device"]
        with nullcontext() if device == "cpu" else locked_gpu():
            import torch

            torch.set_num_threads(spec["threads"])
            yield spec


def with_provenance(output: Path, provenance: Path) -> Path:
    """Return the output after making sure that its provenance lies beside it, where readers look for it."""
    from bigain.core.provenance import provenance_file

    if provenance != provenance_file(output):
        raise ValueError(f"the provenance of {output} is {provenance_file(output)}, not {provenance}")
    return output


def _print_progress(spec_text: str, output: Path) -> None:
    from bigain.core.progress import progress_line

    plan = Path(parsed(spec_text)["results"]) / "plan.json"
    if plan.exists():
        typer.echo(progress_line(plan, output), err=True)


@command("encode-images")
def encode_images(spec_text: SpecText, outputs: Outputs, log: Log = None) -> None:
    """Encode the images of a data set to latents."""
    with model_job(spec_text, log) as spec:
        from bigain.jobs import encode

        encode.encode_images(spec, with_provenance(*outputs))


@command("encode-conditions")
def encode_conditions(spec_text: SpecText, outputs: Outputs, log: Log = None) -> None:
    """Encode the candidate prompts and the captions of a data set."""
    with model_job(spec_text, log) as spec:
        from bigain.jobs import encode

        encode.encode_conditions(spec, with_provenance(*outputs))


@command("measure-batch")
def measure_batch(spec_text: SpecText, outputs: Outputs, log: Log = None) -> None:
    """Measure which batch size takes the least time per row of a forward pass."""
    with model_job(spec_text, log) as spec:
        from bigain.jobs import batch

        batch.measure_batch(spec, with_provenance(*outputs))


@command("reference-features")
def reference_features(spec_text: SpecText, outputs: Outputs, log: Log = None) -> None:
    """Compute the features of a data set's real images."""
    with model_job(spec_text, log) as spec:
        from bigain.jobs import reference

        reference.reference_features(spec, with_provenance(*outputs))


@command()
def calibrate(spec_text: SpecText, outputs: Outputs, log: Log = None) -> None:
    """Calibrate a structural method (DiP-GO, MosaicDiff) on a training split."""
    with model_job(spec_text, log) as spec:
        from bigain.jobs import calibrate as job

        job.calibrate(spec, with_provenance(*outputs))


@command()
def classify(
    spec_text: SpecText, latents: Latents, conditions: Conditions, output: Output, info: Info, log: Log = None
) -> None:
    """Classify a range of images of a cell and store the error of every trial."""
    with model_job(spec_text, log) as spec:
        from bigain.jobs import classify as job

        job.classify(spec, latents, conditions, with_provenance(output, info))
    _print_progress(spec_text, output)


@command()
def generate(spec_text: SpecText, conditions: Conditions, output: Output, info: Info, log: Log = None) -> None:
    """Generate a range of images of a cell and store their features and the first few images."""
    with model_job(spec_text, log) as spec:
        from bigain.jobs import generate as job

        job.generate(spec, conditions, with_provenance(output, info))
    _print_progress(spec_text, output)


@command()
def efficiency(spec_text: SpecText, outputs: Outputs, log: Log = None) -> None:
    """Count the FLOPs of a forward pass under every method, and time it."""
    with model_job(spec_text, log) as spec:
        from bigain.jobs import efficiency as job

        job.efficiency(spec, with_provenance(*outputs))


@command("probe-tokens")
def probe_tokens(spec_text: SpecText, latents: Latents, outputs: Outputs, log: Log = None) -> None:
    """Map the tokens' saliency and the merged tokens (Figures 2 and 3)."""
    with model_job(spec_text, log) as spec:
        from bigain.jobs import probes

        probes.token_maps(spec, latents, with_provenance(*outputs))


@command("probe-spectrum")
def probe_spectrum(
    spec_text: SpecText, latents: Latents, conditions: Conditions, outputs: Outputs, log: Log = None
) -> None:
    """Measure paired class differences by frequency band under every method (Theorem 1)."""
    with model_job(spec_text, log) as spec:
        from bigain.jobs import probes

        probes.spectrum(spec, latents, conditions, with_provenance(*outputs))


@command("probe-margins")
def probe_margins(
    spec_text: SpecText,
    latents: Latents,
    conditions: Conditions,
    outputs: Outputs,
    uncompressed: Annotated[
        Path | None, typer.Argument(help="Margins of the uncompressed model, needed to measure those of a method.")
    ] = None,
    log: Log = None,
) -> None:
    """Measure a method's margins to the hardest wrong class by frequency band, with repeated noise."""
    with model_job(spec_text, log) as spec:
        from bigain.jobs import margins

        margins.margins(spec, latents, conditions, with_provenance(*outputs), uncompressed)


@command("collect-margins")
def collect_margins(
    files: Annotated[list[Path], typer.Argument(help="Margins of every method and strength.")],
    spec_text: SpecText,
    outputs: Outputs,
    log: Log = None,
) -> None:
    """Collect the margins of all methods in one table."""
    with logged(log):
        from bigain.jobs import margins

        margins.collect_margins(parsed(spec_text), files, with_provenance(*outputs))


@command("score-classification")
def score_classification(chunks: Chunks, spec_text: SpecText, output: Output, log: Log = None) -> None:
    """Compute the accuracy and mAP of a cell from its trials."""
    with logged(log):
        from bigain.jobs import score

        score.score_classification(parsed(spec_text), chunks, output)


@command("score-generation")
def score_generation(
    chunks: Chunks,
    spec_text: SpecText,
    reference: Annotated[Path, typer.Option(help="Features of the real images.")],
    output: Output,
    log: Log = None,
) -> None:
    """Compute the Fréchet distance and other metrics between a cell's generated images and the real ones."""
    with logged(log):
        from bigain.jobs import score_generation as job

        job.score_generation(parsed(spec_text), reference, chunks, output)


@command("score-timesteps")
def score_timesteps(spec_text: SpecText, outputs: Outputs, log: Log = None) -> None:
    """Compute the accuracy at single timesteps of all cells of a backbone on a data set, from their trials."""
    with logged(log):
        from bigain.jobs import score_timesteps as job

        output = with_provenance(*outputs)
        job.score_timesteps(parsed(spec_text), output.parents[2] / "cells", output)


@command()
def collect(
    spec_text: SpecText,
    output: Annotated[Path, typer.Option(help="File for the tidy results, beside the folder of the study's cells.")],
    log: Log = None,
) -> None:
    """Collect the metrics of all cells and the outcomes of all images in two tidy tables, with details of the cells."""
    with logged(log):
        from bigain.jobs import collect as job

        job.collect(parsed(spec_text), output.parent / "cells", output)
