"""Commands on the user's own prompts and images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigain.cli.options import IMAGES_PANEL, Factor, MethodId, Ratio, Seed, fail
from bigain.core.gpu_locks import locked_gpu
from bigain.core.rounding import rounded
from bigain.methods.options import Options

if TYPE_CHECKING:
    from bigain.jobs.classify_images import Outcome

app = typer.Typer()
command = partial(app.command, rich_help_panel=IMAGES_PANEL)

DTYPES = ("float32", "float16", "bfloat16")

Model = Annotated[Path, typer.Option(help="Folder of a diffusers pipeline.")]
Prompts = Annotated[Path | None, typer.Option(help="Text file, one prompt per line.")]
ClassIds = Annotated[
    str | None,
    typer.Option(help="Class ids of a class-conditioned model: 0,3,7, or a text file with an id and a name per line."),
]
Threshold = Annotated[float | None, typer.Option(help="Similarity threshold of the method.")]
Calibration = Annotated[Path | None, typer.Option(help="Calibration file of a structural method.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto: the GPU if there is one.")]
Dtype = Annotated[str, typer.Option(help="Precision of the model: float32, float16 or bfloat16.")]


@contextmanager
def model_on(device: str, dtype: str) -> Iterator[None]:
    """Run a model with a GPU to itself; print invalid input as an error of the command."""
    if device not in ("cpu", "cuda", "auto") or dtype not in DTYPES:
        fail(f"device is cpu, cuda or auto, dtype one of {', '.join(DTYPES)}, not {device!r} and {dtype!r}")
    try:
        with nullcontext() if device == "cpu" else locked_gpu():
            yield
    except (OSError, TypeError, ValueError) as error:
        fail(error)


def options_of(ratio: float | None, threshold: float | None, factor: int | None, calibration: Path | None) -> Options:
    """Return the options of `bigain.apply` that the user set."""
    options: Options = {}
    if ratio is not None:
        options["ratio"] = ratio
    if threshold is not None:
        options["threshold"] = threshold
    if factor is not None:
        options["factor"] = factor
    if calibration is not None:
        options["calibration"] = calibration
    return options


@command("generate-images")
def generate_images(
    model: Model,
    out: Annotated[Path, typer.Option(help="Folder for the images and their page; it must not exist yet.")],
    prompts: Prompts = None,
    class_ids: ClassIds = None,
    method: MethodId = "none",
    ratio: Ratio = None,
    threshold: Threshold = None,
    factor: Factor = None,
    calibration: Calibration = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Sampling steps; by default the pipeline's.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; by default the pipeline's.")] = None,
    seed: Seed = 0,
    images_per_prompt: Annotated[int, typer.Option(min=1, help="Images per prompt or class.")] = 1,
    device: Device = "auto",
    dtype: Dtype = "float32",
) -> None:
    """Generate images from prompts or classes, uncompressed and, with a method, compressed, side by side on a page.

    Writes PNG files, images.csv, settings.json and index.html to a new folder, or nothing if it fails.
    """
    with model_on(device, dtype):
        from bigain.core.columns import csv_text
        from bigain.core.files import write_json, write_text
        from bigain.core.folders import whole_folder
        from bigain.datasets.candidates import read_class_ids, read_prompts
        from bigain.reporting.pictures import write_pictures

        listed = None if prompts is None else read_prompts(prompts)
        ids = None if class_ids is None else read_class_ids(class_ids)
        options = options_of(ratio, threshold, factor, calibration)
        with whole_folder(out) as folder:
            from bigain.jobs import pictures as job

            wanted = job.Wanted(listed, ids, images_per_prompt, seed, steps, guidance)
            settings, rows = job.generate_images(model, device, dtype, wanted, method, options, folder)
            write_text(folder / "images.csv", csv_text("generated images", rows))
            write_json(folder / "settings.json", settings)
            write_pictures(folder, settings, rows)
    typer.echo(f"{len(rows)} {'pairs of images' if method != 'none' else 'images'}: {out / 'index.html'}")


@command("classify-images")
def classify_images(
    folder: Annotated[Path, typer.Argument(help="Folder of images, read with its sub-folders.")],
    model: Model,
    out: Annotated[Path, typer.Option(help="CSV file for the predictions; the settings go to its name plus .json.")],
    prompts: Annotated[
        Path | None, typer.Option(help="Text file with a prompt, or the name of a class, per line.")
    ] = None,
    template: Annotated[str, typer.Option(help="Template that turns a name into a prompt: 'a photo of a {}'.")] = "{}",
    class_ids: ClassIds = None,
    method: MethodId = "none",
    ratio: Ratio = None,
    threshold: Threshold = None,
    factor: Factor = None,
    calibration: Calibration = None,
    stages: Annotated[str, typer.Option(help="Trials per class by the end of each stage.")] = "5,20",
    keep: Annotated[str | None, typer.Option(help="Classes that survive each stage, such as 5,1.")] = None,
    weights: Annotated[str, typer.Option(help="Weights of the trials over t: uniform, or exp(-7t).")] = "uniform",
    temperature: Annotated[float | None, typer.Option(help="Temperature of the probabilities, fitted earlier.")] = None,
    calibrate_on: Annotated[
        Path | None,
        typer.Option(help="Folder of other, labelled images to fit the temperature on: a sub-folder per class."),
    ] = None,
    errors: Annotated[Path | None, typer.Option(help="Parquet file for the error of every trial.")] = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read, and list their faults.")
    ] = False,
    seed: Seed = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows of a forward pass.")] = 32,
    device: Device = "auto",
    dtype: Dtype = "float32",
) -> None:
    """Classify a folder of images with a diffusion model, among prompts or classes.

    Writes a CSV file with a row per image. A killed run resumes where it stopped.
    """
    with model_on(device, dtype):
        from bigain.datasets.candidates import prompts_of, read_class_ids, read_prompts

        if (prompts is None) == (class_ids is None):
            raise ValueError("give either --prompts or --class-ids")
        if temperature is not None and calibrate_on is not None:
            raise ValueError("give either --temperature or --calibrate-on")
        candidates = prompts_of(read_prompts(prompts), template) if prompts else read_class_ids(class_ids or "")
        settings = {
            "stages": numbers("stages", stages),
            "keep": None if keep is None else numbers("keep", keep),
            "method": method,
            "calibration": None if calibration is None else str(calibration),
        }
        from bigain.jobs import classify_images as job

        request = job.request_of(
            candidates,
            model,
            **settings,
            ratio=ratio,
            threshold=threshold,
            factor=factor,
            weights=weights,
            seed=seed,
            batch_size=batch_size,
            device=device,
            dtype=dtype,
        )
        outcome = job.classify_images(
            request,
            folder,
            out,
            errors=errors,
            temperature=temperature,
            calibrate_on=calibrate_on,
            skip_unreadable=skip_unreadable,
            inputs=[
                ("--prompts", prompts),
                ("--class-ids", None if class_ids is None else Path(class_ids)),
                ("--calibration", calibration),
            ],
        )
    for line in lines_on(outcome):
        typer.echo(line)
    typer.echo(out)


def numbers(name: str, text: str) -> tuple[int, ...]:
    """Return a list of whole numbers. Raises ValueError naming the option for anything else."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"--{name} is {text!r}; whole numbers joined by commas are needed, as in 5,20")
    return tuple(map(int, parts))


def lines_on(outcome: Outcome) -> Iterator[str]:
    """Yield the lines that summarise a run of `classify-images`."""
    yield f"{outcome.images} images classified" + (f", {outcome.left_out} left out" if outcome.left_out else "")
    if outcome.resumed:
        yield f"{outcome.resumed} of them by an earlier run"
    if outcome.others:
        yield f"{len(outcome.others)} files are not images by their extension: {', '.join(outcome.others[:3])}"
    fitted = outcome.calibrated_on
    if fitted is not None:
        accuracy, before, after = (rounded(percent, 1) for percent in (fitted["accuracy"], *fitted["ece"]))
        yield f"temperature {outcome.temperature:.4g}, fitted to {fitted['images']} images of {fitted['folder']}: "
        yield f"  accuracy {accuracy}%, calibration error (ECE) {before}% before, {after}% after"
    elif outcome.temperature is None:
        yield "probabilities are not calibrated and mean nothing: use --calibrate-on or --temperature"
