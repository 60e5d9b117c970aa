"""Run noise predictions for many images, classes and timesteps in batches of one fixed shape.

A row of a batch is one trial: (image, class, t). The trials of a stage are packed into batches regardless of image,
class and timestep, so only the last batch is padded, and the model always sees the same shape: one compiled graph, and
kernels that round alike. All classes of an image share eps, so x_t is computed once per (image, t), on the model's
device. Errors stay there until the last batch has run: one transfer per stage, and the device never waits for the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from bigain.backbones.base import Backbone
from bigain.classifier.shared_prefix import SharedPrefix
from bigain.compression.attachment import Attachment, RowKey
from bigain.compression.sites import DistinctRows

LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "l2": lambda residual: residual.square(),
    "l1": lambda residual: residual.abs(),
    "huber": lambda residual: huber_loss(residual, torch.zeros_like(residual), reduction="none"),  # delta = 1
}


class BatchTooLarge(ValueError):
    """A batch does not fit into the memory of the device."""


@dataclass(frozen=True)
class ImageGroup:
    """Images that are classified together."""

    ids: list[int]
    latents: Tensor  # x_0 [n, C, H, W] on the model's device
    noise: Callable[[int, int], Tensor]  # eps [C, H, W] of the i-th image at t


class Row(NamedTuple):
    """One noise prediction: index of its image in the group, class, timestep."""

    image: int
    class_index: int
    t: int


class NoisedImages(NamedTuple):
    """Distinct x_t of a stage, on the model's device."""

    x_t: Tensor  # [P, C, H, W], in the model's precision
    eps: Tensor  # [P, C, H, W], float32
    t: Tensor  # [P]


@dataclass(frozen=True)
class Engine:
    """Computes the loss of eps - eps_theta(x_t, t, c) for a group of images.

    `conditions` [K, ...] of the candidate classes are on the model's device.
    """

    backbone: Backbone
    attachment: Attachment
    prefix: SharedPrefix
    conditions: Tensor
    images: ImageGroup
    loss: str  # key of LOSSES
    batch_size: int

    def errors(self, rows: list[Row]) -> list[float]:
        """Return the error of each row, averaged over the elements of the latent, float32.

        Raises ValueError naming a row whose error is not finite, and BatchTooLarge if a batch does not fit into memory.
        """
        if not rows:
            return []
        try:
            errors = self._errors_on_device(rows).tolist()  # the only transfer
        except torch.OutOfMemoryError as error:
            raise BatchTooLarge(
                f"a batch of {self.batch_size} rows does not fit into the memory of {self.backbone.device}: lower "
                "`classification.batch` in the config"
            ) from error
        for row, value in zip(rows, errors, strict=True):
            if not math.isfinite(value):
                image_id = self.images.ids[row.image]
                raise ValueError(
                    f"image {image_id}, class {row.class_index}, t {row.t}: the error is {value}, not finite"
                )
        return errors

    def errors_by_timestep(self, rows: list[Row]) -> list[float]:
        """Return `errors`, computed in batches of a single timestep each, from noise to image: for methods that reuse
        at one timestep what they computed at the one before."""
        errors: dict[Row, float] = {}
        for t in sorted({row.t for row in rows}, reverse=True):
            rows_at_t = [row for row in rows if row.t == t]
            errors |= zip(rows_at_t, self.errors(rows_at_t), strict=True)
        return [errors[row] for row in rows]

    def _errors_on_device(self, rows: list[Row]) -> Tensor:
        pairs = list(dict.fromkeys((row.image, row.t) for row in rows))
        number = {pair: p for p, pair in enumerate(pairs)}
        x_t, eps, t = self._noised(pairs)
        batches = padded_batches(rows, self.batch_size)
        pair_of_row = [[number[row.image, row.t] for row in batch] for batch in batches]
        distinct = self._distinct_rows(pair_of_row)
        device = self.backbone.device
        pair = torch.tensor(pair_of_row, device=device)
        classes = torch.tensor([[row.class_index for row in batch] for batch in batches], device=device)
        errors = []
        for k, batch in enumerate(batches):
            self.attachment.set_rows([RowKey(self.images.ids[row.image], row.class_index, row.t) for row in batch])
            self.prefix.set_batch(classes[k], None if distinct is None else distinct[k])
            eps_theta = self.backbone.predict_noise(x_t[pair[k]], t[pair[k]], self.conditions[classes[k]])
            errors.append(LOSSES[self.loss](eps[pair[k]] - eps_theta.float()).mean(dim=(1, 2, 3)))
        return torch.cat(errors)[: len(rows)]

    def _noised(self, pairs: list[tuple[int, int]]) -> NoisedImages:
        """Return x_t of each (image, t)."""
        device = self.backbone.device
        eps = torch.stack([self.images.noise(image, t) for image, t in pairs]).to(device)
        image, t = (torch.tensor(column, device=device) for column in zip(*pairs, strict=True))
        return NoisedImages(self.backbone.noised(self.images.latents[image], eps, t).to(self.backbone.dtype), eps, t)

    def _distinct_rows(self, pair_of_row: list[list[int]]) -> list[DistinctRows] | None:
        """Return which rows of each batch have the same x_t; None if the model cannot use it or it does not pay.

        All batches have the same number of distinct rows, the next power of two, so that few shapes occur.
        """
        if not self.prefix.exists:
            return None
        distinct = [list(dict.fromkeys(batch)) for batch in pair_of_row]
        width = 2 ** math.ceil(math.log2(max(map(len, distinct))))
        if 2 * width > self.batch_size:
            return None
        first, inverse = [], []
        for batch, pairs in zip(pair_of_row, distinct, strict=True):
            index = [batch.index(pair) for pair in pairs]
            first.append(index + [index[-1]] * (width - len(index)))
            inverse.append([pairs.index(pair) for pair in batch])
        device = self.backbone.device
        stacked = torch.tensor(first, device=device), torch.tensor(inverse, device=device)
        return [DistinctRows(*rows) for rows in zip(*stacked, strict=True)]


def padded_batches(rows: list[Row], size: int) -> list[list[Row]]:
    """Cut rows into batches of `size`; the last is filled up with its last row."""
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    batches[-1] = batches[-1] + [batches[-1][-1]] * (size - len(batches[-1]))
    return batches
