"""Sampling with classifier-free guidance (B.2.2): Euler for U-Nets, DDIM for DiTs; noise keyed by image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bigain.attachment import Compression, RowKey
from bigain.backbones.base import Backbone
from bigain.backbones.sampler import GuidedSampler
from bigain.rng import torch_generator


@dataclass(frozen=True)
class Sampling:
    """How images are generated: `steps` of the backbone's own scheduler, guided by `guidance`."""

    steps: int
    guidance: float
    seed: int


@torch.inference_mode()
def generate_block(
    backbone: Backbone, images: list[int], conditions: Tensor, null: Tensor, sampling: Sampling, at: Compression | None
) -> Tensor:
    """Generate one image per id in `images` under `conditions` [n, ...]: [n, C, H, W] in [0, 1], float32.

    Both guidance halves share whatever a method draws at random.
    """
    sampler = GuidedSampler(backbone, conditions, null, sampling.steps, sampling.guidance)
    shape = backbone.latent_shape
    noise = [torch.randn(shape, generator=torch_generator(sampling.seed, "x_T", image)) for image in images]
    x = sampler.start(torch.stack(noise))
    for step, t in enumerate(sampler.timesteps):
        if at is not None:
            at.set_rows([RowKey(image, "step", step) for image in images] * 2)
        x = sampler.step(sampler.predict(x, t), t, x)
    if not x.isfinite().all():
        raise ValueError(f"images {images}: sampling ended in numbers that are not finite")
    return backbone.decode(x)
