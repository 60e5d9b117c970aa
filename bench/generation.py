"""Images per second in comparison with diffusers' pipelines.

The embedded U-Net and DiT, uncompressed, generate and decode images from the same noise, conditions, scheduler and
number of steps. The arms alternate in one process, so that other load on the machine affects both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline, DiTPipeline, StableDiffusionPipeline
from torch import Tensor

from bench.rounds import ROUNDS, Row, compare
from bigain import backbones
from bigain.backbones.base import Backbone
from bigain.compression.attachment import Uncompressed
from bigain.core.rng import torch_generator
from bigain.methods.method import Family
from bigain.sampling.generate import Sampling, generate_images

MODELS: dict[str, tuple[Family, type[DiffusionPipeline]]] = {
    "mini-unet": ("unet", StableDiffusionPipeline),
    "mini-dit": ("dit", DiTPipeline),
}
STEPS, GUIDANCE, BATCH, SEED = 20, 2.5, 16, 0
CLASSES = 10

Arm = Callable[[], Tensor]


def ours_and_theirs(name: str, images: int = BATCH, steps: int = STEPS) -> tuple[Arm, Arm]:
    """Return functions that make the same images [n, C, H, W] by our sampler and by diffusers' pipeline, from
    encoded prompts."""
    family, pipeline = MODELS[name]
    backbone = backbones.load(family, Path("resources") / name)
    classes = [image % CLASSES for image in range(images)]
    conditions = backbone.conditions([f"a photo of item {k}" for k in classes], classes)
    null, sampling = backbone.null_condition(), Sampling(steps, GUIDANCE, SEED)
    ours = partial(generate_images, backbone, list(range(images)), conditions, null, sampling, Uncompressed())
    pipe = pipeline.from_pretrained(backbone.path, scheduler=backbone.scheduler)
    pipe.set_progress_bar_config(disable=True)
    return ours, partial(_run_pipeline, pipe, backbone, conditions, null, steps)


def _run_pipeline(pipe: DiffusionPipeline, backbone: Backbone, conditions: Tensor, null: Tensor, steps: int) -> Tensor:
    generator = [torch_generator(SEED, "x_T", image) for image in range(len(conditions))]
    arguments: dict[str, Any] = {"num_inference_steps": steps, "guidance_scale": GUIDANCE, "generator": generator}
    if isinstance(pipe, DiTPipeline):
        return pipe(conditions.tolist(), output_type="pt", **arguments).images
    arguments |= {"prompt_embeds": conditions, "negative_prompt_embeds": null.expand_as(conditions)}
    _, size = backbone.image_shape
    return pipe(height=size, width=size, output_type="pt", **arguments).images


def generation(rounds: int = ROUNDS) -> list[Row]:
    """Time a batch of images of both embedded models, with diffusers' pipeline and with our sampler."""
    rows = []
    for name in MODELS:
        ours, theirs = ours_and_theirs(name)
        arms = {"diffusers pipeline": theirs, "ours": ours}
        rows += compare("generation", f"{name}, {BATCH} images, {STEPS} steps", arms, rounds)
    return rows
