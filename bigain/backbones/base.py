"""What every backbone offers: load its parts when they are needed, encode, predict noise, decode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, ModelMixin, SchedulerMixin
from safetensors import SafetensorError
from torch import Tensor

from bigain.core.files import read_json


def padded(rows: Tensor, size: int) -> Tensor:
    """Rows [n, ...] filled up to `size` with the last: for another number of rows, kernels may round otherwise."""
    return torch.cat([rows, rows[-1:].expand(size - len(rows), *rows.shape[1:])])


class Backbone(ABC):
    """A latent diffusion model. Parts load on first use, so a job pays only for its own.

    Conditions are rows of one tensor: prompt embeddings [K, L, D] for a U-Net, class ids [K] for a DiT. `folder` is
    where a pipeline keeps its denoiser; `prediction` is what `predict` returns.
    """

    folder: str
    prediction: Literal["epsilon", "velocity"] = "epsilon"

    def __init__(self, path: Path, device: str, dtype: str) -> None:
        if not (path / "model_index.json").is_file():
            raise FileNotFoundError(f"{path / 'model_index.json'} is missing: {path} is no diffusers pipeline folder")
        self.path, self.device, self.dtype = path, torch.device(device), getattr(torch, dtype)

    @cached_property
    @abstractmethod
    def denoiser(self) -> ModelMixin:
        """The U-Net or transformer."""

    @cached_property
    @abstractmethod
    def scheduler(self) -> SchedulerMixin:
        """The sampler of the paper (B.2.2); classification takes only alpha_bar from it."""

    @abstractmethod
    def conditions(self, prompts: list[str], class_ids: list[int]) -> Tensor:
        """Conditions of prompts (U-Net) or of class ids (DiT), whichever the backbone speaks."""

    @abstractmethod
    def null_condition(self) -> Tensor:
        """The unconditional condition of classifier-free guidance: one row."""

    @abstractmethod
    def predict(self, x_t: Tensor, t: Tensor, conditions: Tensor) -> Tensor:
        """What the model says, as its scheduler takes it: x_t [B, C, H, W], t [B] or a scalar, one condition a row."""

    def placed(self, conditions: Tensor) -> Tensor:
        """Conditions on the model's device and in its precision; class ids stay whole numbers."""
        return conditions.to(self.device, self.dtype if conditions.is_floating_point() else None)

    def predict_noise(self, x_t: Tensor, t: Tensor, conditions: Tensor) -> Tensor:
        """eps_theta(x_t, t, c) [B, C, H, W]: what a model with epsilon prediction says."""
        return self.predict(x_t, t, conditions)

    def noised(self, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps: rows [B, C, H, W] and t [B], on one device."""
        alpha_bar = self.alphas_bar.to(t.device)[t].view(-1, 1, 1, 1)
        return alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps

    @cached_property
    def vae(self) -> AutoencoderKL:
        """The autoencoder."""
        return self.part(AutoencoderKL, "vae")

    @property
    def alphas_bar(self) -> Tensor:
        """alpha_bar_t for t = 0 .. T - 1, float32."""
        return self.scheduler.alphas_cumprod.float()

    @cached_property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a latent at the model's own size."""
        config = read_json(self.path / self.folder / "config.json")
        size = config["sample_size"]
        height, width = (size, size) if isinstance(size, int) else size
        return config["in_channels"], height, width

    @property
    def image_shape(self) -> tuple[int, int]:
        """Channels (1 or 3) of an image, and its height, which is its width."""
        config = read_json(self.path / "vae" / "config.json")
        return config["in_channels"], self.latent_shape[1] * 2 ** (len(config["block_out_channels"]) - 1)

    def part(self, cls: Any, folder: str) -> Any:
        """Load one sub-folder, in evaluation mode. Raises ValueError naming the folder if a file in it is broken."""
        try:
            part = cls.from_pretrained(self.path, subfolder=folder, torch_dtype=self.dtype, use_safetensors=True)
            return part.to(self.device).eval()
        except (SafetensorError, RuntimeError, OSError) as error:
            raise ValueError(f"{self.path / folder} could not be loaded as {cls.__name__}: {error}") from error

    @torch.inference_mode()
    def encode_images(self, images: Tensor) -> Tensor:
        """Posterior means, scaled: images [B, C, H, W] in [0, 1] -> latents, float32 on the CPU."""
        x = images.to(self.device, self.dtype) * 2 - 1
        shift = self.vae.config.shift_factor or 0.0  # only flow models have one
        return ((self.vae.encode(x).latent_dist.mean.float() - shift) * self.vae.config.scaling_factor).cpu()

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> images [B, C, H, W] in [0, 1], float32 on the CPU."""
        shift = self.vae.config.shift_factor or 0.0
        x = self.vae.decode(latents.to(self.dtype) / self.vae.config.scaling_factor + shift).sample
        return (x.float() / 2 + 0.5).clamp(0, 1).cpu()
