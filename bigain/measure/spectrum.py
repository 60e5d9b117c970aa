"""The bands of Theorem 1: the orthonormal 2-D DCT of eps - eps_theta, and the paired class differences in every band.

With an orthonormal basis the squared error is the sum of its squared coefficients (Parseval), so all omega_k are 1 and
D(t, eps) is the sum over bands of Delta_k(t, eps).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.fft import dctn
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.classifier.classify import noise
from bigain.compression.attachment import Attachment, RowKey
from bigain.core.rng import numpy_generator


@dataclass(frozen=True)
class Pair:
    """An image with its true class c* and a wrong one."""

    image: int
    true: int
    wrong: int


def draw_pair(seed: int, image: int, true: int, classes: int) -> Pair:
    """An image's pair; the wrong class is drawn once an image, for all methods. Raises ValueError for one class."""
    if classes < 2:
        raise ValueError(f"image {image}: a paired class difference needs two classes, and there is {classes}")
    wrong = int(numpy_generator(seed, "wrong class", image).integers(classes - 1))
    return Pair(image, true, wrong + (wrong >= true))


def bands(height: int, width: int, count: int) -> np.ndarray:
    """The band of every DCT coefficient (u, v) of a latent grid: [H, W] integers, 0 the lowest.

    Bands are rings of equal width in max(u / H, v / W), so that none is empty on a square grid of at least `count`.
    """
    radius = np.maximum(np.arange(height)[:, None] / height, np.arange(width)[None] / width)
    return np.minimum((radius * count).astype(int), count - 1)


def band_energies(residual: Tensor, count: int) -> np.ndarray:
    """The squared DCT coefficients of residuals [B, C, H, W], summed over channels and each of `count` bands: [B, K].

    The sum over bands is the squared norm of the residual.
    """
    squares = dctn(residual.double().cpu().numpy(), axes=(2, 3), norm="ortho") ** 2
    place = bands(*residual.shape[2:], count)
    return np.stack([squares[:, :, place == band].sum(axis=(1, 2)) for band in range(count)], axis=1)


@torch.inference_mode()
def differences(
    backbone: Backbone,
    latents: Tensor,
    pairs: list[Pair],
    conditions: Tensor,
    timesteps: list[int],
    seed: int,
    batch_size: int,
    band_count: int,
    at: Attachment,
) -> np.ndarray:
    """Delta_k(t, eps) of every image and timestep: the wrong class's error in band k minus the true one's, [n, T, K].

    `latents` [n, C, H, W] belong to `pairs`, `conditions` [classes, ...] are the candidates. Noise, x_t and what a
    method draws at random are the classifier's own.
    """
    rows = [(i, t, c) for i, pair in enumerate(pairs) for t in timesteps for c in (pair.wrong, pair.true)]
    eps_of = {
        (i, t): noise(seed, pair.image, t, tuple(latents.shape[1:])) for i, pair in enumerate(pairs) for t in timesteps
    }
    conditions = backbone.placed(conditions)
    energies = []
    for part in _batches(rows, batch_size):
        full = part + [part[-1]] * (batch_size - len(part))  # one shape for every batch
        place, t, chosen = (torch.tensor(column) for column in zip(*full, strict=True))
        eps = torch.stack([eps_of[i, step] for i, step, _ in full])
        x_t = backbone.noised(latents[place], eps, t).to(backbone.device, backbone.dtype)
        at.set_rows([RowKey(pairs[i].image, c, step) for i, step, c in full])
        prediction = backbone.predict_noise(x_t, t.to(backbone.device), conditions[chosen.to(backbone.device)])
        energies.append(band_energies(eps - prediction.float().cpu(), band_count)[: len(part)])
    wrong, true = np.concatenate(energies).reshape(len(pairs) * len(timesteps), 2, band_count).swapaxes(0, 1)
    return (wrong - true).reshape(len(pairs), len(timesteps), band_count)


def _batches(rows: list[tuple[int, int, int]], size: int) -> Iterator[list[tuple[int, int, int]]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
