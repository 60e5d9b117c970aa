"""Generate images: sample latents with classifier-free guidance (B.2.2), from noise keyed by image, and decode them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.backbones.chunked_feed_forward import chunked_feed_forward
from bigain.compression.attachment import Attachment, RowKey
from bigain.core.rng import torch_generator
from bigain.datasets.photos import as_jpeg, pixels
from bigain.sampling.guided import sampler_for


@dataclass(frozen=True)
class Sampling:
    """Settings of sampling with the backbone's own scheduler."""

    steps: int
    guidance: float  # scale of classifier-free guidance
    seed: int


def as_stored(images: Tensor, encoding: Literal["float", "png", "jpeg"]) -> Tensor:
    """Return images [n, C, H, W] in [0, 1] as they would be read back from a file.

    "float" changes nothing; "png" rounds to 8 bits; "jpeg" is the released code's file, which truncates to 8 bits, then
    compresses at quality 100 with chroma subsampling.
    """
    if encoding == "float":
        return images
    if encoding == "png":
        return (images * 255).round() / 255
    bytes_ = (images * 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    files = [as_jpeg(Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)) for image in bytes_]
    return torch.stack([torch.from_numpy(pixels(file, images.shape[1])) for file in files]).float() / 255


@torch.inference_mode()
def sample_latents(
    backbone: Backbone,
    image_ids: list[int],
    conditions: Tensor,
    null: Tensor,
    sampling: Sampling,
    attachment: Attachment,
) -> Tensor:
    """Sample one latent per image id under `conditions` [n, ...]: x_0 [n, C, H, W] on the model's device.

    Both halves of the guidance share what a method draws at random. Nothing here waits for the device. Raises
    ValueError if the images do not fit into memory together.
    """
    with _fits(backbone, image_ids):
        sampler = sampler_for(backbone, conditions, null, sampling.steps, sampling.guidance)
        shape, rows = backbone.latent_shape, sampler.rows_per_image
        noise = [torch.randn(shape, generator=torch_generator(sampling.seed, "x_T", image)) for image in image_ids]
        x = sampler.start(torch.stack(noise))
        with chunked_feed_forward(backbone.denoiser, rows * len(image_ids), attachment):
            for step, t in enumerate(sampler.timesteps):
                attachment.set_rows([RowKey(image, "step", step) for image in image_ids] * rows)
                x = sampler.step(sampler.predict(x, t), t, x)
    return x


@torch.inference_mode()
def decode_latents(backbone: Backbone, image_ids: list[int], latents: Tensor) -> Tensor:
    """Decode latents to images [n, C, H, W] in [0, 1], float32 on the CPU.

    Raises ValueError if a latent is not finite, or if the images do not fit into memory together.
    """
    if not latents.isfinite().all():  # waits for the device, as fetching the images does
        raise ValueError(f"images {image_ids}: the sampled latents are not finite")
    with _fits(backbone, image_ids):
        return backbone.decode(latents)


def generate_images(
    backbone: Backbone,
    image_ids: list[int],
    conditions: Tensor,
    null: Tensor,
    sampling: Sampling,
    attachment: Attachment,
) -> Tensor:
    """Generate one image per image id under `conditions` [n, ...]: [n, C, H, W] in [0, 1], float32 on the CPU."""
    latents = sample_latents(backbone, image_ids, conditions, null, sampling, attachment)
    return decode_latents(backbone, image_ids, latents)


@contextmanager
def _fits(backbone: Backbone, image_ids: list[int]) -> Iterator[None]:
    """Raise ValueError with what to lower if memory runs out inside the context."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"{len(image_ids)} images together do not fit into the memory of {backbone.device}: lower "
            "`generation.block` in the config"
        ) from error
