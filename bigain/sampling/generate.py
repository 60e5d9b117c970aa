"""Sampling with classifier-free guidance (B.2.2): Euler for U-Nets, DDIM for DiTs; noise keyed by image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.backbones.chunked_feed_forward import feed_forward_in_parts
from bigain.compression.attachment import Attachment, RowKey
from bigain.core.rng import torch_generator
from bigain.datasets.photos import as_jpeg, pixels
from bigain.sampling.guided import sampler_for


@dataclass(frozen=True)
class Sampling:
    """How images are generated: `steps` of the backbone's own scheduler, guided by `guidance`."""

    steps: int
    guidance: float
    seed: int


def as_stored(images: Tensor, encoding: Literal["float", "png", "jpeg"]) -> Tensor:
    """What a file would hold of images [n, C, H, W] in [0, 1], again in [0, 1].

    "float" stores all of it, "png" 8 bits, rounded; "jpeg" is the released code's file: 8 bits, cut off, then JPEG of
    quality 100, whose colours have half the resolution.
    """
    if encoding == "float":
        return images
    if encoding == "png":
        return (images * 255).round() / 255
    bytes_ = (images * 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    stored = [as_jpeg(Image.fromarray(one.squeeze(-1) if one.shape[-1] == 1 else one)) for one in bytes_]
    return torch.stack([torch.from_numpy(pixels(one, images.shape[1])) for one in stored]).float() / 255


@torch.inference_mode()
def sample_block(
    backbone: Backbone, images: list[int], conditions: Tensor, null: Tensor, sampling: Sampling, at: Attachment
) -> Tensor:
    """Sample one latent per id in `images` under `conditions` [n, ...]: [n, C, H, W] on the model's device.

    Both guidance halves share whatever a method draws at random. Nothing here waits for the device. Raises ValueError
    if the block does not fit into its memory.
    """
    with _fits(backbone, images), feed_forward_in_parts(backbone.denoiser, 2 * len(images), at):
        sampler = sampler_for(backbone, conditions, null, sampling.steps, sampling.guidance)
        shape = backbone.latent_shape
        noise = [torch.randn(shape, generator=torch_generator(sampling.seed, "x_T", image)) for image in images]
        x = sampler.start(torch.stack(noise))
        for step, t in enumerate(sampler.timesteps):
            at.set_rows([RowKey(image, "step", step) for image in images] * 2)
            x = sampler.step(sampler.predict(x, t), t, x)
    return x


@torch.inference_mode()
def decode_block(backbone: Backbone, images: list[int], latents: Tensor) -> Tensor:
    """The images [n, C, H, W] in [0, 1], float32 on the CPU, of what `sample_block` sampled.

    Raises ValueError if a latent is not finite, or if the block does not fit into the device's memory.
    """
    if not latents.isfinite().all():  # waits for the device, once a block, as handing out the images does
        raise ValueError(f"images {images}: sampling ended in numbers that are not finite")
    with _fits(backbone, images):
        return backbone.decode(latents)


def generate_block(
    backbone: Backbone, images: list[int], conditions: Tensor, null: Tensor, sampling: Sampling, at: Attachment
) -> Tensor:
    """Generate one image per id in `images` under `conditions` [n, ...]: [n, C, H, W] in [0, 1], float32."""
    return decode_block(backbone, images, sample_block(backbone, images, conditions, null, sampling, at))


@contextmanager
def _fits(backbone: Backbone, images: list[int]) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"a block of {len(images)} images does not fit into the memory of {backbone.device}: lower "
            "`generation.block` in the config"
        ) from error
