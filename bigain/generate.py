"""Sampling with classifier-free guidance (B.2.2): Euler for U-Nets, DDIM for DiTs; noise keyed by image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import EulerDiscreteScheduler
from torch import Tensor

from bigain.attachment import Attachment, RowKey
from bigain.backbones.base import Backbone
from bigain.rng import torch_generator


@dataclass(frozen=True)
class Sampling:
    """How images are generated: `steps` of the backbone's own scheduler, guided by `guidance`."""

    steps: int
    guidance: float
    seed: int


@torch.inference_mode()
def generate_block(
    backbone: Backbone, images: list[int], conditions: Tensor, null: Tensor, sampling: Sampling, at: Attachment | None
) -> Tensor:
    """Generate one image per id in `images` under `conditions` [n, ...]: [n, C, H, W] in [0, 1], float32.

    Both guidance halves run in one batch and share whatever a method draws at random.
    """
    scheduler = type(backbone.scheduler).from_config(backbone.scheduler.config)
    scheduler.set_timesteps(sampling.steps)
    shape = backbone.latent_shape
    x = torch.stack([torch.randn(shape, generator=torch_generator(sampling.seed, "x_T", i)) for i in images])
    x = (x * scheduler.init_noise_sigma).to(backbone.device)
    both = torch.cat([null.expand_as(conditions), conditions]).to(backbone.device)
    both = both.to(backbone.dtype) if both.is_floating_point() else both
    for step, t in enumerate(scheduler.timesteps):
        if at is not None:
            at.set_rows([RowKey(image, "step", step) for image in images] * 2)
        x_t = scheduler.scale_model_input(torch.cat([x, x]), t).to(backbone.dtype)
        unconditional, conditional = backbone.predict_noise(x_t, t.to(backbone.device), both).float().chunk(2)
        eps = unconditional + sampling.guidance * (conditional - unconditional)
        x = _step(scheduler, eps, t, x)
    if not x.isfinite().all():
        raise ValueError(f"images {images}: sampling ended in numbers that are not finite")
    return backbone.decode(x)


def _step(scheduler, eps: Tensor, t: Tensor, x: Tensor) -> Tensor:  # noqa: ANN001 - any diffusers scheduler
    if isinstance(scheduler, EulerDiscreteScheduler):
        return scheduler.step(eps, t, x, return_dict=False)[0]
    return scheduler.step(eps, t, x, eta=0.0, return_dict=False)[0]
