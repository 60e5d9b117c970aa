"""Frequency bands of Theorem 1: the orthonormal 2-D DCT of eps - eps_theta, and paired class differences by band.

In an orthonormal basis the squared error is the sum of the squared coefficients (Parseval), so all omega_k are 1 and
D(t, eps) is the sum of Delta_k(t, eps) over the bands.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.fft import dctn
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.classifier.noise import keyed_noise
from bigain.compression.attachment import Attachment, RowKey
from bigain.core.rng import numpy_generator


@dataclass(frozen=True)
class Pair:
    """An image with its true class c* and a wrong class."""

    image: int
    true: int
    wrong: int


def draw_pair(seed: int, image: int, true: int, classes: int) -> Pair:
    """Draw the wrong class of an image, the same for all methods. Raises ValueError if there is no other class."""
    if classes < 2:
        raise ValueError(f"image {image}: a paired class difference needs two classes, and there is {classes}")
    wrong = int(numpy_generator(seed, "wrong class", image).integers(classes - 1))
    return Pair(image, true, wrong + (wrong >= true))


def bands(height: int, width: int, count: int) -> np.ndarray:
    """Return the band of every DCT coefficient (u, v) of a latent grid: [H, W] integers, 0 the lowest.

    Bands are rings of equal width in max(u / H, v / W), so none is empty on a square grid of side `count` or more.
    """
    radius = np.maximum(np.arange(height)[:, None] / height, np.arange(width)[None] / width)
    return np.minimum((radius * count).astype(int), count - 1)


def band_energies(residual: Tensor, count: int) -> np.ndarray:
    """Sum the squared DCT coefficients of residuals [B, C, H, W] over channels and within `count` bands: [B, K].

    The sum over bands is the squared norm of the residual.
    """
    squares = dctn(residual.double().cpu().numpy(), axes=(2, 3), norm="ortho") ** 2
    height, width = residual.shape[2:]
    band_of = bands(height, width, count)
    return np.stack([squares[:, :, band_of == band].sum(axis=(1, 2)) for band in range(count)], axis=1)


class Row(NamedTuple):
    """A noise prediction: of which latent, at which timestep, under which condition."""

    latent: int
    t: int
    condition: int


@torch.inference_mode()
def band_errors(
    backbone: Backbone,
    latents: Tensor,
    images: list[int],
    conditions: Tensor,
    rows: list[Row],
    seed: int,
    batch_size: int,
    band_count: int,
    attachment: Attachment,
) -> np.ndarray:
    """Compute the squared error of every row by band: [rows, K].

    `latents` [n, C, H, W] belong to `images` [n], `conditions` [classes, ...] to the candidates. Noise, x_t and random
    draws of a method are those of the classifier with that seed.
    """
    shape = tuple(latents.shape[1:])
    eps_of = {place: keyed_noise(seed, images[place[0]], place[1], shape) for place in {row[:2] for row in rows}}
    conditions = backbone.to_device(conditions)
    energies = np.empty((len(rows), band_count))
    for places in _batches(rows, batch_size, attachment):
        batch = [rows[place] for place in places]
        padded = batch + [batch[-1]] * (batch_size - len(batch))  # one shape for every batch
        index, t, classes = (torch.tensor(column) for column in zip(*padded, strict=True))
        eps = torch.stack([eps_of[row[:2]] for row in padded])
        x_t = backbone.noised(latents[index], eps, t).to(backbone.device, backbone.dtype)
        attachment.set_rows([RowKey(images[row.latent], row.condition, row.t) for row in padded])
        eps_theta = backbone.predict_noise(x_t, t.to(backbone.device), conditions[classes.to(backbone.device)])
        energies[places] = band_energies(eps - eps_theta.float().cpu(), band_count)[: len(batch)]
    return energies


def _batches(rows: list[Row], size: int, attachment: Attachment) -> Iterator[list[int]]:
    """Yield the places of the rows of each batch, which the method treats alike (`Attachment.mode`)."""
    by_mode: dict[Hashable, list[int]] = {}
    for place, row in enumerate(rows):
        by_mode.setdefault(attachment.mode(row.t), []).append(place)
    for places in by_mode.values():
        yield from (places[start : start + size] for start in range(0, len(places), size))


def differences(
    backbone: Backbone,
    latents: Tensor,
    pairs: list[Pair],
    conditions: Tensor,
    timesteps: list[int],
    seed: int,
    batch_size: int,
    band_count: int,
    attachment: Attachment,
) -> np.ndarray:
    """Compute Delta_k(t, eps), the error of the wrong class in band k minus that of the true class: [n, T, K].

    Arguments are those of `band_errors`; each latent belongs to a pair.
    """
    rows = [Row(i, t, c) for i, pair in enumerate(pairs) for t in timesteps for c in (pair.wrong, pair.true)]
    images = [pair.image for pair in pairs]
    errors = band_errors(backbone, latents, images, conditions, rows, seed, batch_size, band_count, attachment)
    wrong, true = errors.reshape(len(pairs) * len(timesteps), 2, band_count).swapaxes(0, 1)
    return (wrong - true).reshape(len(pairs), len(timesteps), band_count)
