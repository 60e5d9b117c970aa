"""The adaptive diffusion classifier (Algorithm 1): which class explains the noise best?

Work goes block by block of images, in waves: one stage of all images of a block at once, cut into batches of one
fixed shape, the last one padded. A block's records therefore depend on nothing outside the block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from bigain.attachment import Compression, RowKey
from bigain.backbones.base import Backbone
from bigain.rng import torch_generator
from bigain.schedule import Stages


@dataclass(frozen=True)
class Protocol:
    """How images are classified. `batch_size` is the fixed number of rows of a forward pass.

    `random_timesteps` draws them as Algorithm 1 is printed, instead of the grid. With shared noise the batches of a
    stage hold one timestep each, the same rows at every timestep.
    """

    stages: Stages
    seed: int
    batch_size: int
    loss: str = "l2"
    random_timesteps: bool = False
    noise: Literal["fresh", "shared"] = "fresh"  # shared: one for all timesteps, visited from high to low
    drawn: Literal["keyed", "released"] = "keyed"  # released: as `ReleasedNoise` draws it


@dataclass(frozen=True)
class Trial:
    """One noise prediction: the error of one class on one noised image."""

    image: int
    class_index: int
    t: int
    stage: int
    error: float


LOSSES = {
    "l2": lambda difference: difference.square(),
    "l1": lambda difference: difference.abs(),
    "huber": lambda difference: huber_loss(difference, torch.zeros_like(difference), reduction="none"),  # delta 1
}


def noise(seed: int, image: int, t: int | str, shape: tuple[int, ...], repetition: int = 0) -> Tensor:
    """eps of one trial, keyed by (seed, image id, t, repetition) and shared by all classes and methods; t is "all" if
    one noise serves all timesteps."""
    return torch.randn(shape, generator=torch_generator(seed, "noise", image, t, repetition))


class ReleasedNoise:
    """Noise as the released code draws it: one stream for all images in the data set's order, of which every image
    takes one tensor of rows; a trial's row is how many timesteps of its image were evaluated before.

    The stream is the CPU's (the released code takes the GPU's, after whatever else has drawn from it), so its scheme is
    reproduced, not its bits. Other than keyed noise, an image's depends on its place in the data set.
    """

    def __init__(self, seed: int, rows: int, shape: tuple[int, ...]) -> None:
        self.seed, self.shape = seed, (rows, *shape)
        self._start()

    def of(self, place: int) -> Tensor:
        """The rows [M, C, H, W] of the image at a place: quick for the next, a draw of all before it otherwise."""
        if place < self._place:
            self._start()
        while self._place < place:
            self._draw()
        return self._draw()

    def _start(self) -> None:
        self._generator, self._place = torch.Generator().manual_seed(self.seed), 0

    def _draw(self) -> Tensor:
        self._place += 1
        return torch.randn(self.shape, generator=self._generator)


@torch.inference_mode()
def classify_block(
    backbone: Backbone,
    latents: Tensor,
    images: list[int],
    conditions: Tensor,
    protocol: Protocol,
    at: Compression | None,
    released: list[Tensor] | None = None,
) -> list[Trial]:
    """Classify the images of one block; every trial that was run, by stage, image, class and t.

    `latents` [n, C, H, W] belong to the image ids `images`; `conditions` [K, ...] are the candidates. After each stage
    the `keep` classes with the lowest mean error so far survive, ties to the lowest class. `released` holds every
    image's rows of `ReleasedNoise`, if the noise is drawn so.
    """
    draw = _keyed(latents, images, protocol) if released is None else _by_row(released, images, protocol)
    classes = len(conditions)
    survivors = [list(range(classes)) for _ in images]
    sums = torch.zeros(len(images), classes, dtype=torch.float64)
    counts = torch.zeros_like(sums)
    trials: list[Trial] = []
    for stage, keep in enumerate(protocol.stages.keep):
        rows = [
            (i, c, t)
            for i, image in enumerate(images)
            for t in _timesteps(protocol, image)[stage]
            for c in survivors[i]
        ]
        for (i, c, t), error in zip(
            rows, _errors(backbone, latents, images, conditions, rows, protocol, at, draw), strict=True
        ):
            trials.append(Trial(images[i], c, t, stage, error))
            sums[i, c] += error
            counts[i, c] += 1
        means = sums / counts
        survivors = [sorted(best_classes(means[i].tolist(), alive, keep)) for i, alive in enumerate(survivors)]
    return trials


def best_classes(means: list[float], candidates: list[int], keep: int) -> list[int]:
    """The `keep` candidates with the lowest mean error, best first; ties to the lowest class."""
    return sorted(candidates, key=lambda c: (means[c], c))[:keep]


def _timesteps(protocol: Protocol, image: int) -> list[list[int]]:
    if protocol.random_timesteps:
        return protocol.stages.random_timesteps(protocol.seed, image)
    return protocol.stages.timesteps()


def _keyed(latents: Tensor, images: list[int], protocol: Protocol) -> Callable[[int, int], Tensor]:
    """eps of an image of the block at t, keyed."""
    shape = tuple(latents.shape[1:])
    return lambda i, t: noise(protocol.seed, images[i], t if protocol.noise == "fresh" else "all", shape)


def _by_row(released: list[Tensor], images: list[int], protocol: Protocol) -> Callable[[int, int], Tensor]:
    """eps of an image of the block at t, by the order in which its timesteps are evaluated; one row if shared."""
    if protocol.noise == "shared":
        return lambda i, t: released[i][0]
    rows = [[t for stage in _timesteps(protocol, image) for t in stage] for image in images]
    return lambda i, t: released[i][rows[i].index(t)]


def _errors(
    backbone: Backbone,
    latents: Tensor,
    images: list[int],
    conditions: Tensor,
    rows: list[tuple[int, int, int]],
    protocol: Protocol,
    at: Compression | None,
    draw: Callable[[int, int], Tensor],
) -> list[float]:
    """The errors of rows (image place, class, t), in their order, float32: mean over a latent's numbers."""
    conditions = backbone.placed(conditions)
    eps_of: dict[tuple[int, int], Tensor] = {}
    found: dict[tuple[int, int, int], float] = {}
    for part in _batches(rows, protocol):
        full = part + [part[-1]] * (protocol.batch_size - len(part))  # one shape for every batch
        for i, _, t in part:
            if (i, t) not in eps_of:
                eps_of[i, t] = draw(i, t)
        place, chosen, t = (torch.tensor(column) for column in zip(*full, strict=True))
        eps = torch.stack([eps_of[i, step] for i, _, step in full])
        x_t = backbone.noised(latents[place], eps, t)
        if at is not None:
            at.set_rows([RowKey(images[i], c, step) for i, c, step in full])
        x_t, eps, t = x_t.to(backbone.device, backbone.dtype), eps.to(backbone.device), t.to(backbone.device)
        prediction = backbone.predict_noise(x_t, t, conditions[chosen.to(backbone.device)])
        errors = LOSSES[protocol.loss](eps - prediction.float()).mean(dim=(1, 2, 3))
        for (i, c, step), error in zip(part, errors.tolist(), strict=False):  # without the padding
            if not math.isfinite(error):
                raise ValueError(f"image {images[i]}, class {c}, t {step}: the error is {error}, no finite number")
            found[i, c, step] = error
    return [found[row] for row in rows]


def _batches(rows: list[tuple[int, int, int]], protocol: Protocol) -> Iterator[list[tuple[int, int, int]]]:
    """Rows (image place, class, t) as batches, the last one of a run of rows perhaps smaller."""
    runs = [rows]
    if protocol.noise == "shared":
        runs = [[row for row in rows if row[2] == t] for t in sorted({t for _, _, t in rows}, reverse=True)]
    for run in runs:
        for start in range(0, len(run), protocol.batch_size):
            yield run[start : start + protocol.batch_size]
