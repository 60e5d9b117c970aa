"""A tiny real backbone around the session's tiny networks, and latents for it."""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler

from bigain.backbones.base import Backbone
from bigain.backbones.dit import DiT
from bigain.backbones.unet import StableDiffusion

LATENT_SHAPE = (4, 16, 16)


def latents(images) -> torch.Tensor:
    """Draw the latent of each image from the image's id."""
    return torch.stack([torch.randn(LATENT_SHAPE, generator=torch.Generator().manual_seed(id)) for id in images])


class TinyBackbone(Backbone):
    """The real classes' `predict` on a network that comes from no folder; it has no autoencoder."""

    denoiser = None
    scheduler = None

    def __init__(self, network, family: str) -> None:
        self.family, self.device, self.dtype = family, torch.device("cpu"), torch.float32
        self.denoiser = network
        self.scheduler = EulerDiscreteScheduler() if family == "unet" else DDIMScheduler()

    def conditions(self, prompts, class_ids):
        return self.conditions_of(len(class_ids))

    def null_condition(self):
        return torch.zeros(1, 5, 16) if self.family == "unet" else torch.tensor([1000])

    def conditions_of(self, count: int) -> torch.Tensor:
        """Return the conditions of some candidate classes."""
        if self.family == "dit":
            return torch.arange(count)
        return torch.randn(count, 5, 16, generator=torch.Generator().manual_seed(9))

    @property
    def latent_shape(self):
        size = self.denoiser.config.sample_size
        return self.denoiser.config.in_channels, size, size

    def predict(self, x_t, t, conditions):
        real = StableDiffusion if self.family == "unet" else DiT
        return real.predict(self, x_t, t, conditions)
