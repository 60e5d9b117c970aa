"""The commands on one's own prompts and images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bigain.cli.options import IMAGES_PANEL, fail
from bigain.core.gpu_locks import locked_gpu
from bigain.methods.options import Options

app = typer.Typer()
command = partial(app.command, rich_help_panel=IMAGES_PANEL)

DTYPES = ("float32", "float16", "bfloat16")

Model = Annotated[Path, typer.Option(help="Folder of a diffusers pipeline.")]
Prompts = Annotated[Path | None, typer.Option(help="Text file with one prompt per line.")]
ClassIds = Annotated[
    str | None,
    typer.Option(help="Class ids of a class-conditioned model: 0,3,7, or a text file with an id and a name per line."),
]
MethodId = Annotated[str, typer.Option("--method", help="Method as `bigain methods` lists it, or a variant.")]
Ratio = Annotated[float | None, typer.Option(help="Merge ratio of the method.")]
Factor = Annotated[int | None, typer.Option(help="Downsample factor of the method.")]
Calibration = Annotated[Path | None, typer.Option(help="Calibration file of a structural method.")]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto: the GPU if there is one.")]
Dtype = Annotated[str, typer.Option(help="Precision of the model: float32, float16 or bfloat16.")]


@contextmanager
def model_on(device: str, dtype: str) -> Iterator[None]:
    """Run a model with a GPU of its own; print what does not fit as an error of the command."""
    if device not in ("cpu", "cuda", "auto") or dtype not in DTYPES:
        fail(f"device is cpu, cuda or auto, dtype one of {', '.join(DTYPES)}, not {device!r} and {dtype!r}")
    try:
        with nullcontext() if device == "cpu" else locked_gpu():
            yield
    except (OSError, TypeError, ValueError) as error:
        fail(error)


def options_of(ratio: float | None, factor: int | None, calibration: Path | None) -> Options:
    """Return the options of `bigain.apply` that were stated."""
    options: Options = {}
    if ratio is not None:
        options["ratio"] = ratio
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
    factor: Factor = None,
    calibration: Calibration = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Sampling steps; the pipeline's default if left out.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Scale of guidance; the pipeline's default if left out.")
    ] = None,
    seed: Seed = 0,
    images_per_prompt: Annotated[int, typer.Option(min=1, help="Images per prompt or class.")] = 1,
    device: Device = "auto",
    dtype: Dtype = "float32",
) -> None:
    """Generate images from prompts or classes, and with a method the same ones compressed, side by side on a page.

    Writes PNG files, images.csv, settings.json and index.html to a new folder, all or nothing.
    """
    with model_on(device, dtype):
        from bigain.core.columns import csv_text
        from bigain.core.files import write_json, write_text
        from bigain.core.folders import whole_folder
        from bigain.datasets.candidates import read_class_ids, read_prompts
        from bigain.reporting.pictures import write_pictures

        listed = None if prompts is None else read_prompts(prompts)
        ids = None if class_ids is None else read_class_ids(class_ids)
        options = options_of(ratio, factor, calibration)
        with whole_folder(out) as folder:
            from bigain.jobs import pictures as job

            wanted = job.Wanted(listed, ids, images_per_prompt, seed, steps, guidance)
            settings, rows = job.generate_images(model, device, dtype, wanted, method, options, folder)
            write_text(folder / "images.csv", csv_text("generated images", rows))
            write_json(folder / "settings.json", settings)
            write_pictures(folder, settings, rows)
    typer.echo(f"{len(rows)} {'pairs of images' if method != 'none' else 'images'}: {out / 'index.html'}")
