"""Denoisers of published architectures with random weights, which take as long as trained ones.

A benchmark needs no other part of a pipeline: conditions are random too.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, ModelMixin
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.backbones.dit import DiT
from bigain.backbones.unet import StableDiffusion, memory_format
from bigain.measure.flops import PROMPT_TOKENS, architecture


class RandomBackbone(Backbone):
    """Base of both families: a denoiser built on the device, and the shape of its latents."""

    name: str

    def build(self, name: str, device: str, dtype: torch.dtype, side: int | None) -> ModelMixin:
        """Return the denoiser of an architecture (a name or a folder, as for `architecture`) for latents of `side` rows
        and columns, or of the size in its config."""
        self.name, self.device, self.dtype = name, torch.device(device), dtype
        torch.manual_seed(0)
        model = architecture(name)
        size = model.config.sample_size if side is None else side
        with self.device:
            return type(model).from_config(model.config, sample_size=size).eval().to(self.device, dtype)

    def __str__(self) -> str:
        return f"{Path(self.name).stem}, {str(self.dtype).removeprefix('torch.')}"

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        config = self.denoiser.config
        return config.in_channels, config.sample_size, config.sample_size

    def conditions_of(self, count: int) -> Tensor:
        """Return conditions of `count` classes."""
        raise NotImplementedError


class RandomStableDiffusion(RandomBackbone, StableDiffusion):
    """A U-Net of Stable Diffusion's kind."""

    def __init__(self, name: str, device: str, dtype: torch.dtype, side: int | None = None) -> None:
        unet = self.build(name, device, dtype, side)
        self.denoiser = unet.to(memory_format=memory_format(self.device, dtype))
        self.scheduler = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")

    def conditions_of(self, count: int) -> Tensor:
        """Return random embeddings of `count` prompts."""
        shape = (count, PROMPT_TOKENS["unet"], self.denoiser.config.cross_attention_dim)
        return torch.randn(shape, generator=torch.Generator().manual_seed(1))


class RandomDiT(RandomBackbone, DiT):
    """A diffusion transformer."""

    def __init__(self, name: str, device: str, dtype: torch.dtype, side: int | None = None) -> None:
        self.denoiser = self.build(name, device, dtype, side)
        self.scheduler = DDIMScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="linear", clip_sample=False)

    def conditions_of(self, count: int) -> Tensor:
        """Return the first class ids."""
        return torch.arange(count)
