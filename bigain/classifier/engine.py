"""Waves of noise predictions: rows of (image, class, t), in batches of one fixed shape, their errors in one transfer.

Rows are packed across images, timesteps and classes, and only the last batch of a wave is padded. x_t is built where
the model is, once for every (image, t); errors stay there until the wave is done, so that the device never waits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from bigain.backbones.base import Backbone
from bigain.classifier.shared_prefix import Sharing
from bigain.compression.attachment import Attachment, RowKey
from bigain.compression.sites import DistinctRows

LOSSES = {
    "l2": lambda difference: difference.square(),
    "l1": lambda difference: difference.abs(),
    "huber": lambda difference: huber_loss(difference, torch.zeros_like(difference), reduction="none"),  # delta 1
}


class Row(NamedTuple):
    """One noise prediction: the place of its image in the block, its class, its timestep."""

    place: int
    class_index: int
    t: int


class Engine:
    """Errors of noise predictions for the images of one block.

    `latents` [n, C, H, W] of the image ids `images`; `conditions` [K, ...] where the model is; `draw(place, t)` is the
    eps of an image at t.
    """

    def __init__(
        self,
        backbone: Backbone,
        latents: Tensor,
        images: list[int],
        conditions: Tensor,
        draw: Callable[[int, int], Tensor],
        loss: str,
        batch_size: int,
        at: Attachment,
        sharing: Sharing,
    ) -> None:
        self.backbone, self.images, self.conditions, self.draw = backbone, images, conditions, draw
        self.latents = latents.to(backbone.device)
        self.loss, self.batch_size, self.at, self.sharing = LOSSES[loss], batch_size, at, sharing

    def errors(self, rows: list[Row]) -> list[float]:
        """The errors of the rows of a wave, in their order, float32: mean over a latent's numbers.

        Raises ValueError naming a row whose error is no finite number, and what to lower if a batch does not fit.
        """
        if not rows:
            return []
        try:
            found = self._run(rows).tolist()  # the one transfer
        except torch.OutOfMemoryError as error:
            raise TooLarge(
                f"a batch of {self.batch_size} rows does not fit into the memory of {self.backbone.device}: lower "
                "`classification.batch` in the config"
            ) from error
        for row, error in zip(rows, found, strict=True):
            if not math.isfinite(error):
                image = self.images[row.place]
                raise ValueError(
                    f"image {image}, class {row.class_index}, t {row.t}: the error is {error}, no finite number"
                )
        return found

    def errors_by_timestep(self, rows: list[Row]) -> list[float]:
        """As `errors`, in batches of one timestep each, from noise to image: what an earlier step computed may be
        reused in the next."""
        found: dict[Row, float] = {}
        for t in sorted({row.t for row in rows}, reverse=True):
            own = [row for row in rows if row.t == t]
            found |= zip(own, self.errors(own), strict=True)
        return [found[row] for row in rows]

    def _run(self, rows: list[Row]) -> Tensor:
        device, size = self.backbone.device, self.batch_size
        pairs = list(dict.fromkeys((row.place, row.t) for row in rows))
        number = {pair: k for k, pair in enumerate(pairs)}
        eps = torch.stack([self.draw(place, t) for place, t in pairs]).to(device)
        place, t = (torch.tensor(column, device=device) for column in zip(*pairs, strict=True))
        x_t = self.backbone.noised(self.latents[place], eps, t).to(self.backbone.dtype)

        batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        batches[-1] = batches[-1] + [batches[-1][-1]] * (size - len(batches[-1]))  # one shape for every batch
        pair_of = [[number[row.place, row.t] for row in batch] for batch in batches]
        pair = torch.tensor(pair_of, device=device)
        chosen = torch.tensor([[row.class_index for row in batch] for batch in batches], device=device)
        repeats = self._repeats(pair_of)
        errors = []
        for k, batch in enumerate(batches):
            self.at.set_rows([RowKey(self.images[row.place], row.class_index, row.t) for row in batch])
            self.sharing.set_batch(chosen[k], None if repeats is None else repeats[k])
            prediction = self.backbone.predict_noise(x_t[pair[k]], t[pair[k]], self.conditions[chosen[k]])
            errors.append(self.loss(eps[pair[k]] - prediction.float()).mean(dim=(1, 2, 3)))
        return torch.cat(errors)[: len(rows)]

    def _repeats(self, pair_of: list[list[int]]) -> list[DistinctRows] | None:
        """Which rows of every batch have the same x_t; None where it is not worth it, or nothing is shared.

        All batches of a wave have the same number of distinct rows, the next power of two, so that few shapes exist.
        """
        if not self.sharing.shares:
            return None
        distinct = [list(dict.fromkeys(batch)) for batch in pair_of]
        width = 2 ** math.ceil(math.log2(max(map(len, distinct))))
        if 2 * width > self.batch_size:
            return None
        first, place = [], []
        for batch, own in zip(pair_of, distinct, strict=True):
            known = {pair: k for k, pair in enumerate(own)}
            places = [batch.index(pair) for pair in own]
            first.append(places + [places[-1]] * (width - len(places)))
            place.append([known[pair] for pair in batch])
        device = self.backbone.device
        return [
            DistinctRows(*both)
            for both in zip(torch.tensor(first, device=device), torch.tensor(place, device=device), strict=True)
        ]


class TooLarge(ValueError):
    """A batch does not fit into the device's memory."""
