"""The job of `bigain generate-images`: the same noise with and without compression, through the pipeline's own call."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from tqdm import tqdm

from bigain.compression.attach import compressed
from bigain.core.rng import torch_generator
from bigain.datasets.images import open_image
from bigain.jobs.common import environment_of
from bigain.jobs.pipelines import check_candidates, class_names, condition_of, load_pipeline
from bigain.methods.options import Options

UNCOMPRESSED, COMPRESSED = "uncompressed", "compressed"  # folders
WARM_UP_STEPS = 2


@dataclass(frozen=True)
class Wanted:
    """Images to generate, by prompts or by class ids with names; `steps` and `guidance` default to the pipeline's.

    Raises ValueError for a guidance that is not finite.
    """

    prompts: list[str] | None
    class_ids: Mapping[int, str] | None
    images_per_prompt: int
    seed: int
    steps: int | None
    guidance: float | None

    def __post_init__(self) -> None:
        if self.guidance is not None and not math.isfinite(self.guidance):
            raise ValueError(f"guidance is {self.guidance}; it has to be a finite number")


@dataclass(frozen=True)
class Picture:
    """An image to generate: its condition, its number among those of the condition, and the file's name."""

    condition: str | int
    name: str  # of the class; empty for a prompt
    number: int
    file: str


def generate_images(
    model: Path, device: str, dtype: str, wanted: Wanted, method: str, options: Options, folder: Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Generate all images without compression and, unless `method` is "none", with it, as PNG files below `folder`.

    The noise of an image is keyed by the seed, its prompt or class, and its number, so both have the same. Return the
    settings, and a row per image as columns.yaml describes them under `generated images`.

    Raises ValueError or TypeError naming what does not fit: the model's folder, prompts or classes, the method's
    options, an image that is not finite.
    """
    pipe = load_pipeline(model, device, dtype)
    check_candidates(pipe, wanted.prompts, wanted.class_ids)
    pictures = list(_pictures(pipe, wanted))
    rows = [_row(picture, wanted.seed) for picture in pictures]
    _warm_up(pipe, wanted, pictures[0], method, options)
    plain = _generated(pipe, wanted, pictures, rows, folder / UNCOMPRESSED, UNCOMPRESSED)
    report: list[dict[str, Any]] = []
    label = ""
    if method != "none":
        with compressed(pipe, method, **options) as attachment:
            fewer = _generated(pipe, wanted, pictures, rows, folder / COMPRESSED, COMPRESSED)
            report, label, method = attachment.report(), attachment.method.label, attachment.method.id
        for row, before, after in zip(rows, plain, fewer, strict=True):
            row |= _difference(before, after)
    settings = {
        "model": str(model),
        "pipeline": type(pipe).__name__,
        "dtype": dtype,
        "seed": wanted.seed,
        "steps": wanted.steps,
        "guidance": wanted.guidance,
        "images_per_prompt": wanted.images_per_prompt,
        "method": method,
        "label": label,
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in options.items()},
        "compressed": report,
        "environment": environment_of(pipe.device),
    }
    return settings, rows


def _pictures(pipe: DiffusionPipeline, wanted: Wanted) -> Iterator[Picture]:
    names = class_names(pipe) if wanted.class_ids is not None else {}
    stated: Mapping[Any, str] = wanted.class_ids or dict.fromkeys(wanted.prompts or (), "")
    digits = len(str(max(len(stated), wanted.images_per_prompt) - 1))
    for k, (condition, name) in enumerate(stated.items()):
        for number in range(wanted.images_per_prompt):
            yield Picture(condition, name or names.get(condition, ""), number, f"{k:0{digits}}-{number:0{digits}}.png")


def _row(picture: Picture, seed: int) -> dict[str, Any]:
    is_class = isinstance(picture.condition, int)
    return {
        "prompt": "" if is_class else picture.condition,
        "class_id": picture.condition if is_class else None,
        "class_name": picture.name,
        "number": picture.number,
        "seed": seed,
    }


def _warm_up(pipe: DiffusionPipeline, wanted: Wanted, picture: Picture, method: str, options: Options) -> None:
    """Generate an image in two steps with and without the method, untimed: kernels compile, and faults show at once.

    Raises ValueError for a pipeline that needs more inputs, and as `apply` does.
    """
    try:
        _called(pipe, wanted, picture, WARM_UP_STEPS)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"{type(pipe).__name__} does not generate from {condition_of(pipe)}, steps and guidance alone: {error}"
        ) from error
    with compressed(pipe, method, **options):
        _called(pipe, wanted, picture, WARM_UP_STEPS)


def _generated(
    pipe: DiffusionPipeline, wanted: Wanted, pictures: list[Picture], rows: list[dict[str, Any]], folder: Path, arm: str
) -> list[np.ndarray]:
    """Generate and store all images of an arm, add their columns to the rows, and return their 8-bit pixels."""
    folder.mkdir()
    images = []
    for picture, row in zip(tqdm(pictures, desc=arm), rows, strict=True):
        began = time.perf_counter()
        values, flagged = _called(pipe, wanted, picture, wanted.steps)
        row |= {f"{arm}_seconds": time.perf_counter() - began, arm: f"{folder.name}/{picture.file}"}
        row["flagged"] = bool(row.get("flagged")) or flagged
        if not np.isfinite(values).all():
            raise ValueError(
                f"{picture.condition!r}, image {picture.number}, {arm}: its pixels are not finite; half precision "
                "overflows in some autoencoders: use --dtype float32"
            )
        image = open_image(values, picture.file)
        image.save(folder / picture.file)
        images.append(np.asarray(image))
    return images


@torch.inference_mode()
def _called(pipe: DiffusionPipeline, wanted: Wanted, picture: Picture, steps: int | None) -> tuple[np.ndarray, bool]:
    """Call a pipeline for one image: pixels [H, W, C] in [0, 1], and whether its safety checker blacked them out."""
    settings: dict[str, Any] = {condition_of(pipe): [picture.condition], "output_type": "np"}
    if steps is not None:
        settings["num_inference_steps"] = steps
    if wanted.guidance is not None:
        settings["guidance_scale"] = wanted.guidance
    generator = torch_generator(wanted.seed, "picture", picture.condition, picture.number)
    try:
        output = pipe(generator=[generator], **settings)
    except torch.OutOfMemoryError as error:
        raise ValueError(f"one image does not fit into the memory of {pipe.device}: try --dtype float16") from error
    flags = getattr(output, "nsfw_content_detected", None) or [False]
    return np.asarray(output.images[0]), bool(flags[0])


def _difference(before: np.ndarray, after: np.ndarray) -> dict[str, float | None]:
    """Return mean |x - y| and the peak signal-to-noise ratio 10 log10(255^2 / MSE) of 8-bit images; none if equal."""
    difference = before.astype(np.float64) - after
    error = float((difference**2).mean())
    psnr = 10 * np.log10(255**2 / error) if error else None
    return {"mean_absolute_difference": float(np.abs(difference).mean()), "psnr": psnr}
