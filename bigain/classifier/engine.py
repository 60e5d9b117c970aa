"""Run noise predictions for many images, classes and timesteps in batches of one fixed shape.

A row of a batch is one trial: (image, class, t). The trials of a stage are packed into batches regardless of image,
class and timestep, so only the last batch is padded, and the model always sees the same shape: one compiled graph, and
kernels that round alike. All classes of an image share eps, so x_t is computed once per (image, t), on the model's
device. A stage needs two transfers to a GPU, noise and tables of rows, and one back, the errors: the device never waits
for the host between the batches of a stage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from bigain.backbones.base import Backbone
from bigain.classifier.noise import GroupNoise
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
    timesteps: list[list[list[int]]]  # new timesteps by stage and image
    noise: GroupNoise

    def draw_ahead(self, stage: int, chosen: Iterable[int]) -> None:
        """Draw the noise of a stage before it is needed, for the chosen images (indices in the group)."""
        self.noise.draw_ahead([(i, t) for i in chosen for t in self.timesteps[stage][i]])


class Row(NamedTuple):
    """One noise prediction: index of its image in the group, class, timestep."""

    image: int
    class_index: int
    t: int


class Wave(NamedTuple):
    """Batches submitted to the device: their rows with the padding, and their errors, still on the device."""

    image_ids: list[int]
    rows: list[Row]
    errors: Tensor

    def read(self) -> dict[Row, float]:
        """Wait for the device and return the error of each row, averaged over the elements of the latent, float32.

        Raises ValueError naming a row whose error is not finite.
        """
        errors: dict[Row, float] = {}
        for row, error in zip(self.rows, self.errors.tolist(), strict=True):  # the only transfer
            if not math.isfinite(error):
                image_id = self.image_ids[row.image]
                raise ValueError(
                    f"image {image_id}, class {row.class_index}, t {row.t}: the error is {error}, not finite"
                )
            errors.setdefault(row, error)  # the row itself, not its repetitions in the padding
        return errors


@dataclass(frozen=True)
class Engine:
    """Computes the loss of eps - eps_theta(x_t, t, c) for groups of images.

    `conditions` [K, ...] of the candidate classes are on the model's device.
    """

    backbone: Backbone
    attachment: Attachment
    prefix: SharedPrefix
    conditions: Tensor
    loss: str  # key of LOSSES
    batch_size: int

    def submit(self, images: ImageGroup, batches: list[list[Row]]) -> Wave:
        """Start computing batches of `batch_size` rows; on a GPU, return before they are computed.

        Raises BatchTooLarge if a batch does not fit into memory.
        """
        errors = self._losses(images, batches, over=(1, 2, 3))
        return Wave(images.ids, [row for batch in batches for row in batch], errors)

    def maps(self, images: ImageGroup, batches: list[list[Row]]) -> Tensor:
        """Return the losses of all rows of the batches, averaged over the latent's channels only: [B, H, W] on the CPU.

        Raises BatchTooLarge if a batch does not fit into memory.
        """
        return self._losses(images, batches, over=(1,)).cpu()

    def _losses(self, images: ImageGroup, batches: list[list[Row]], over: tuple[int, ...]) -> Tensor:
        try:
            return self._averaged(images, batches, over)
        except torch.OutOfMemoryError as error:
            raise BatchTooLarge(
                f"a batch of {self.batch_size} rows does not fit into the memory of {self.backbone.device}: set "
                "`classification.batch` of the config, or `batch_size` of a DiffusionClassifier, to a smaller number"
            ) from error

    def _averaged(self, images: ImageGroup, batches: list[list[Row]], over: tuple[int, ...]) -> Tensor:
        """Return the losses of all rows, averaged over the dimensions `over` of a latent."""
        device = self.backbone.device
        pairs = list(dict.fromkeys((row.image, row.t) for batch in batches for row in batch))
        keys = [[RowKey(images.ids[row.image], row.class_index, row.t) for row in batch] for batch in batches]
        tables = self._tables(batches, pairs, keys)
        eps = sent(images.noise.stacked(pairs), device)
        pair, classes, t = tables["pair"], tables["class"], tables["t"]
        x_t = self.backbone.noised(images.latents[tables["image"]], eps, t).to(self.backbone.dtype)
        errors = []
        for k in range(len(batches)):
            self.attachment.set_rows(keys[k], tables["seeds"][k] if "seeds" in tables else None)
            distinct = DistinctRows(tables["first"][k], tables["inverse"][k]) if "first" in tables else None
            self.prefix.set_batch(classes[k], distinct)
            eps_theta = self.backbone.predict_noise(x_t[pair[k]], t[pair[k]], self.conditions[classes[k]])
            errors.append(LOSSES[self.loss](eps[pair[k]] - eps_theta.float()).mean(dim=over))
        return torch.cat(errors)

    def _tables(
        self, batches: list[list[Row]], pairs: list[tuple[int, int]], keys: list[list[RowKey]]
    ) -> dict[str, Tensor]:
        """Return integer tables on the device: `image` and `t` of each pair; `pair` and `class` of each row, and its
        `seeds` under a random method; `first` and `inverse` (`DistinctRows`) where rows share a prefix."""
        number = {pair: p for p, pair in enumerate(pairs)}
        pair_of_row = [[number[row.image, row.t] for row in batch] for batch in batches]
        tables: dict[str, list[int] | list[list[int]]] = {
            "image": [image for image, _ in pairs],
            "t": [t for _, t in pairs],
            "pair": pair_of_row,
            "class": [[row.class_index for row in batch] for batch in batches],
        }
        seeds = [self.attachment.row_seeds(batch) for batch in keys]
        if seeds[0]:
            tables["seeds"] = seeds
        distinct = distinct_rows(pair_of_row) if self.prefix.exists else None
        if distinct is not None:
            tables["first"], tables["inverse"] = distinct
        return sent_together(tables, self.backbone.device)


def distinct_rows(pair_of_row: list[list[int]]) -> tuple[list[list[int]], list[list[int]]] | None:
    """Return which rows of each batch have the same x_t, as `first` and `inverse` (`DistinctRows`).

    Distinct rows are padded to one number for all batches, a power of two, so that few shapes occur. None if they would
    fill more than half a batch, since sharing would not pay.
    """
    distinct = [list(dict.fromkeys(batch)) for batch in pair_of_row]
    width = 2 ** math.ceil(math.log2(max(map(len, distinct))))
    if 2 * width > len(pair_of_row[0]):
        return None
    first, inverse = [], []
    for batch, pairs in zip(pair_of_row, distinct, strict=True):
        index = [batch.index(pair) for pair in pairs]
        first.append(index + [index[-1]] * (width - len(index)))
        inverse.append([pairs.index(pair) for pair in batch])
    return first, inverse


def padded_batches(rows: list[Row], size: int) -> list[list[Row]]:
    """Cut rows into batches of `size`; the last is filled up with its last row."""
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    batches[-1] = batches[-1] + [batches[-1][-1]] * (size - len(batches[-1]))
    return batches


def batches_by_mode(rows: list[Row], size: int, mode: Callable[[int], Hashable]) -> list[list[Row]]:
    """Cut rows into batches of timesteps at which a method does the same (`Attachment.mode`)."""
    by_mode: dict[Hashable, list[Row]] = {}
    for row in rows:
        by_mode.setdefault(mode(row.t), []).append(row)
    return [batch for alike in by_mode.values() for batch in padded_batches(alike, size)]


def batches_by_timestep(rows: list[Row], size: int) -> list[list[Row]]:
    """Cut rows into batches of a single timestep each, from noise to image: for methods that reuse results of the
    previous timestep."""
    timesteps = sorted({row.t for row in rows}, reverse=True)
    return [batch for t in timesteps for batch in padded_batches([row for row in rows if row.t == t], size)]


def sent(x: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on the device; a copy to a GPU does not wait for running kernels."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)


def sent_together(tables: Mapping[str, list[int] | list[list[int]]], device: torch.device) -> dict[str, Tensor]:
    """Return tables of integers on the device, sent in a single transfer."""
    tensors = {name: torch.tensor(table) for name, table in tables.items()}
    flat = sent(torch.cat([tensor.flatten() for tensor in tensors.values()]), device)
    parts = flat.split([tensor.numel() for tensor in tensors.values()])
    return {name: part.view(tensor.shape) for (name, tensor), part in zip(tensors.items(), parts, strict=True)}
