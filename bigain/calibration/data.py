"""Calibration data: latents of a training split's images, with their conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.core.rng import torch_generator


@dataclass(frozen=True)
class CalibrationData:
    """Latents [n, C, H, W] of the images `ids`, their conditions [n, ...] and the null condition [1, ...]."""

    ids: list[int]
    latents: Tensor
    conditions: Tensor
    null: Tensor

    def noised(self, backbone: Backbone, timesteps: Tensor, seed: int, purpose: str) -> tuple[Tensor, Tensor]:
        """Return x_t and eps of every latent at its timestep [n]; the noise is keyed by (seed, purpose, image)."""
        eps = self.noise(seed, purpose)
        return backbone.noised(self.latents, eps, timesteps), eps

    def noise(self, seed: int, purpose: str) -> Tensor:
        """Draw standard normal noise of a latent's shape for every image."""
        shape = tuple(self.latents.shape[1:])
        return torch.stack([torch.randn(shape, generator=torch_generator(seed, purpose, i)) for i in self.ids])

    def part(self, places: Sequence[int]) -> CalibrationData:
        """Select the images at these places."""
        places = list(places)
        return CalibrationData([self.ids[i] for i in places], self.latents[places], self.conditions[places], self.null)
