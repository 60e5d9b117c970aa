"""Pixels to latents in batches of a fixed size, so that a latent does not depend on what else is encoded."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bigain.backbones.base import Backbone, padded

PIXELS_PER_BATCH = 64 * 32 * 32  # 64 images of the embedded study, or one photo of 512 x 512


def images_per_batch(size: int) -> int:
    """Return how many images of size x size are encoded together."""
    return max(1, PIXELS_PER_BATCH // size**2)


def to_float(images: np.ndarray) -> Tensor:
    """Convert uint8 [n, C, H, W] to float32 in [0, 1]."""
    return torch.from_numpy(images).float() / 255


def encode_batch(backbone: Backbone, images: np.ndarray) -> Tensor:
    """Encode at most `images_per_batch` images, uint8 [n, C, H, W], to latents, float32 on the CPU; the batch is filled
    up."""
    step = images_per_batch(images.shape[-1])
    return backbone.encode_images(padded(to_float(images), step))[: len(images)]
