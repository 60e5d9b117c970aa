"""Noise eps of the classifier: keyed by image and timestep, or from one stream as the released code draws it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bigain.core.rng import torch_generator


def keyed_noise(seed: int, image: int, t: int | str, shape: tuple[int, ...], repetition: int = 0) -> Tensor:
    """Draw eps from N(0, I), keyed by (seed, image id, t, repetition), so that all classes and methods share it.

    `t` is "all" where one eps serves all timesteps.
    """
    return torch.randn(shape, generator=torch_generator(seed, "noise", image, t, repetition))


class ReleasedNoise:
    """Noise in the order of the released code: one stream over the data set, M rows per image.

    A trial uses row m if m timesteps of its image were evaluated before. The released code draws on the GPU, after
    whatever else has drawn there; this stream is the CPU's, so it reproduces the scheme but not the bits. Unlike keyed
    noise, the noise of an image depends on its position in the data set.
    """

    def __init__(self, seed: int, trials: int, latent_shape: tuple[int, ...]) -> None:
        self.seed, self.shape = seed, (trials, *latent_shape)
        self._rewind()

    def rows(self, position: int) -> Tensor:
        """Draw the rows [M, C, H, W] of the image at a position: fast in order; a jump draws all images in between."""
        if position < self._position:
            self._rewind()
        while self._position < position:
            self._draw()
        return self._draw()

    def _rewind(self) -> None:
        self._generator, self._position = torch.Generator().manual_seed(self.seed), 0

    def _draw(self) -> Tensor:
        self._position += 1
        return torch.randn(self.shape, generator=self._generator)


class GroupNoise:
    """Noise eps of a group of images, by image (its index in the group) and t, drawn ahead or when it is needed."""

    def __init__(self, draw: Callable[[int, int], Tensor]) -> None:
        self._draw = draw
        self._ahead: dict[tuple[int, int], Tensor] = {}

    def draw_ahead(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Draw eps of each (image, t) ahead, and discard what was drawn ahead before."""
        self._ahead = {pair: self._draw(*pair) for pair in pairs}

    def stacked(self, pairs: Sequence[tuple[int, int]]) -> Tensor:
        """Return eps of each (image, t), [P, C, H, W], taking what was drawn ahead."""
        return torch.stack([self._ahead.pop(pair) if pair in self._ahead else self._draw(*pair) for pair in pairs])
