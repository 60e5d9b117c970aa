"""The adaptive diffusion classifier (Algorithm 1): which class explains the noise best?

Work goes block by block of images, in waves: one stage of all images of a block at once. What a block's records say
depends on nothing outside the block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.backbones.chunked_feed_forward import feed_forward_in_parts
from bigain.classifier.elimination import Elimination
from bigain.classifier.engine import Engine, Row
from bigain.classifier.shared_prefix import shared_between_classes
from bigain.classifier.timesteps import Stages
from bigain.compression.attachment import Attachment
from bigain.core.rng import torch_generator


@dataclass(frozen=True)
class Protocol:
    """How images are classified. `batch_size` is the fixed number of rows of a forward pass.

    `random_timesteps` draws them as Algorithm 1 is printed, instead of the grid. With shared noise the batches of a
    stage hold one timestep each, the same rows at every timestep. `elimination` instead of `stages` drops a class when
    a test says that it cannot win; of the stages only M is used then.
    """

    stages: Stages
    seed: int
    batch_size: int
    loss: str = "l2"
    random_timesteps: bool = False
    noise_per: Literal["timestep", "image"] = "timestep"  # image: one for all timesteps, visited from high to low
    noise_source: Literal["keyed", "released"] = "keyed"  # released: as `ReleasedNoise` draws it
    elimination: Elimination | None = None


@dataclass(frozen=True)
class Trial:
    """One noise prediction: the error of one class on one noised image."""

    image: int
    class_index: int
    t: int
    stage: int
    error: float


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
    at: Attachment,
    released: list[Tensor] | None = None,
) -> list[Trial]:
    """Classify the images of one block; every trial that was run, by stage, image, t and class.

    `latents` [n, C, H, W] belong to the image ids `images`; `conditions` [K, ...] are the candidates. After each stage
    the `keep` classes with the lowest mean error so far survive, ties to the lowest class. `released` holds every
    image's rows of `ReleasedNoise`, if the noise is drawn so.

    Raises ValueError for an error that is no finite number, and for a batch that does not fit into memory.
    """
    draw = _keyed(latents, images, protocol) if released is None else _by_row(released, images, protocol)
    survivors = [list(range(len(conditions))) for _ in images]
    history: list[dict[int, list[float]]] = [{c: [] for c in alive} for alive in survivors]
    conditions = backbone.placed(conditions)
    trials: list[Trial] = []
    with (
        shared_between_classes(backbone.denoiser, conditions, at) as sharing,
        feed_forward_in_parts(backbone.denoiser, protocol.batch_size, at),
    ):
        engine = Engine(backbone, latents, images, conditions, draw, protocol.loss, protocol.batch_size, at, sharing)
        for wave in range(_waves(protocol)):
            rows = [
                Row(i, c, t)
                for i, image in enumerate(images)
                if len(survivors[i]) > 1 or wave == 0
                for t in _timesteps(protocol, image)[wave]
                for c in survivors[i]
            ]
            run = engine.errors_by_timestep if protocol.noise_per == "image" else engine.errors
            for row, error in zip(rows, run(rows), strict=True):
                trials.append(Trial(images[row.place], row.class_index, row.t, wave, error))
                history[row.place][row.class_index].append(error)
            survivors = [_survivors(protocol, wave, alive, history[i]) for i, alive in enumerate(survivors)]
    return trials


def _waves(protocol: Protocol) -> int:
    if protocol.elimination is not None:
        return len(protocol.elimination.waves(protocol.stages.trials))
    return len(protocol.stages.keep)


def _survivors(protocol: Protocol, wave: int, alive: list[int], history: dict[int, list[float]]) -> list[int]:
    """The classes of one image that go on after a wave."""
    if protocol.elimination is not None:
        errors = np.array([history[c] for c in alive])
        return [c for c, stays in zip(alive, protocol.elimination.survivors(errors), strict=True) if stays]
    means = {c: math.fsum(history[c]) / len(history[c]) for c in alive}
    return sorted(best_classes(means, alive, protocol.stages.keep[wave]))


def best_classes(means: Mapping[int, float] | Sequence[float], candidates: list[int], keep: int) -> list[int]:
    """The `keep` candidates with the lowest mean error, best first; ties to the lowest class."""
    return sorted(candidates, key=lambda c: (means[c], c))[:keep]


def _timesteps(protocol: Protocol, image: int) -> list[list[int]]:
    """The timesteps of every wave."""
    if protocol.elimination is not None:
        return protocol.elimination.waves(protocol.stages.trials)
    if protocol.random_timesteps:
        return protocol.stages.random_timesteps(protocol.seed, image)
    return protocol.stages.timesteps()


def _keyed(latents: Tensor, images: list[int], protocol: Protocol) -> Callable[[int, int], Tensor]:
    """eps of an image of the block at t, keyed."""
    shape = tuple(latents.shape[1:])
    return lambda i, t: noise(protocol.seed, images[i], t if protocol.noise_per == "timestep" else "all", shape)


def _by_row(released: list[Tensor], images: list[int], protocol: Protocol) -> Callable[[int, int], Tensor]:
    """eps of an image of the block at t, by the order in which its timesteps are evaluated; one row if shared."""
    if protocol.noise_per == "image":
        return lambda i, t: released[i][0]
    rows = [[t for stage in _timesteps(protocol, image) for t in stage] for image in images]
    return lambda i, t: released[i][rows[i].index(t)]
