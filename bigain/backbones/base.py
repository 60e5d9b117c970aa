"""The interface of all backbones: conditions, forward process, noise prediction, encoding and decoding of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import torch
from diffusers import AutoencoderKL, ModelMixin, SchedulerMixin
from safetensors import SafetensorError
from torch import Tensor

from bigain.core.files import read_json
from bigain.core.predictions import prediction_fault
from bigain.core.prompts import Reader, TextEncoder, encoders_of, readers
from bigain.methods.method import Family

Scheduler = TypeVar("Scheduler", bound=SchedulerMixin)


def padded(rows: Tensor, size: int) -> Tensor:
    """Fill rows [n, ...] up to `size` with the last row, since kernels may round differently for another batch size."""
    return torch.cat([rows, rows[-1:].expand(size - len(rows), *rows.shape[1:])])


class Backbone(ABC):
    """A latent diffusion model in diffusers' folder format, whose parts are loaded when they are first used.

    Conditions are the rows of one tensor: prompt embeddings [K, L, D] for a U-Net, class ids [K] for a DiT, a vector
    and a sequence packed together for a flow model (`bigain.backbones.flow.packed`). Parts come from the folder through
    `load_part`, `has_part`, `load_scheduler`, `load_tokenizer` and `config_of`, which `bigain.backbones.in_memory`
    replaces by a pipeline's parts.
    """

    conditioned_on: Literal["prompts", "class ids"] = "prompts"
    folder: str  # of the denoiser in a pipeline
    family: ClassVar[Family]

    def __init__(self, path: Path, device: str, dtype: str) -> None:
        if not (path / "model_index.json").is_file():
            raise FileNotFoundError(
                f"{path / 'model_index.json'} is missing: {path} is not a diffusers pipeline folder"
            )
        self.path, self.device, self.dtype = path, torch.device(device), getattr(torch, dtype)

    @cached_property
    @abstractmethod
    def denoiser(self) -> ModelMixin:
        """The U-Net or transformer."""

    @cached_property
    @abstractmethod
    def scheduler(self) -> SchedulerMixin:
        """The scheduler of the paper's sampler (B.2.2); classification uses only its alpha_bar."""

    @abstractmethod
    def conditions(self, prompts: list[str], class_ids: list[int]) -> Tensor:
        """Return the conditions of prompts (U-Net) or of class ids (DiT)."""

    def readers(self) -> list[Reader]:
        """Return the text encoders that the pipeline has, with their tokenizers and limits."""
        return readers(encoders_of(self.family, self.has_part), self._tokenizer_of)

    def _tokenizer_of(self, encoder: TextEncoder) -> Any:
        from transformers import AutoTokenizer, CLIPTokenizer  # which a DiT does not need

        return self.load_tokenizer(CLIPTokenizer if encoder.kind == "CLIP" else AutoTokenizer, encoder.tokenizer)

    @abstractmethod
    def null_condition(self) -> Tensor:
        """Return the null condition of classifier-free guidance: one row."""

    @abstractmethod
    def predict(self, x_t: Tensor, t: Tensor, conditions: Tensor) -> Tensor:
        """Run the denoiser on x_t [B, C, H, W] at t [B] or a scalar t, with one condition per row."""

    def to_device(self, conditions: Tensor) -> Tensor:
        """Move conditions to the model's device, prompt embeddings also to its precision."""
        return conditions.to(self.device, self.dtype if conditions.is_floating_point() else None)

    def predict_noise(self, x_t: Tensor, t: Tensor, conditions: Tensor) -> Tensor:
        """Return eps_theta(x_t, t, c) [B, C, H, W].

        A model that predicts v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0 gives
        eps = sqrt(alpha_bar) v + sqrt(1 - alpha_bar) x_t, float32.
        """
        output = self.predict(x_t, t, conditions)
        if not self.predicts_v:
            return output
        alpha_bar = self._alpha_bar_at(t)
        return alpha_bar.sqrt() * output.float() + (1 - alpha_bar).sqrt() * x_t.float()

    @property
    def predicts_v(self) -> bool:
        """Return whether `predict` returns v instead of eps, as the scheduler says."""
        return self.scheduler.config.get("prediction_type") == "v_prediction"

    def noised(self, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps: rows [B, C, H, W] and t [B], on one device."""
        alpha_bar = self._alpha_bar_at(t)
        return alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps

    def _alpha_bar_at(self, t: Tensor) -> Tensor:
        return self.alphas_bar.to(t.device, non_blocking=True)[t].view(-1, 1, 1, 1)

    def checked(self, scheduler: Scheduler) -> Scheduler:
        """Return a scheduler of this pipeline. Raises ValueError naming its folder if the model's prediction is none
        that we know."""
        if fault := prediction_fault(scheduler.config):
            raise ValueError(f"{self.path / 'scheduler'}: {fault}")
        return scheduler

    @cached_property
    def vae(self) -> AutoencoderKL:
        """The autoencoder."""
        return self.load_part(AutoencoderKL, "vae")

    @property
    def alphas_bar(self) -> Tensor:
        """alpha_bar_t for t = 0 .. T - 1, float32."""
        return self.scheduler.alphas_cumprod.float()

    @cached_property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a latent at the model's native resolution."""
        config = self.config_of(self.folder)
        size = config["sample_size"]
        height, width = (size, size) if isinstance(size, int) else size
        return config["in_channels"], height, width

    @property
    def image_shape(self) -> tuple[int, int]:
        """Channels (1 or 3) and side length of an image."""
        config = self.config_of("vae")
        return config["in_channels"], self.latent_shape[1] * 2 ** (len(config["block_out_channels"]) - 1)

    def load_part(self, cls: Any, folder: str) -> Any:
        """Load a sub-folder in evaluation mode. Raises ValueError naming the folder if it is missing or damaged."""
        try:
            part = cls.from_pretrained(self.path, subfolder=folder, torch_dtype=self.dtype, use_safetensors=True)
            return part.to(self.device).eval()
        except (SafetensorError, RuntimeError, OSError) as error:
            raise ValueError(f"{self.path / folder} could not be loaded as {cls.__name__}: {error}") from error

    def has_part(self, folder: str) -> bool:
        """Return whether the pipeline has a part that may be missing."""
        return (self.path / folder / "config.json").is_file()

    def load_scheduler(self, scheduler: Any, **changes: Any) -> Any:
        """Return a scheduler of a class with the pipeline's settings, except for `changes`."""
        return scheduler.from_pretrained(self.path, subfolder="scheduler", **changes)

    def load_tokenizer(self, tokenizer: Any, folder: str) -> Any:
        """Return the tokenizer in a sub-folder. Raises FileNotFoundError where transformers would go on without a
        vocabulary."""
        if not (self.path / folder).is_dir():
            raise FileNotFoundError(f"{self.path / folder} is missing: the pipeline needs its tokenizer")
        return tokenizer.from_pretrained(self.path, subfolder=folder)

    def config_of(self, folder: str) -> Mapping[str, Any]:
        """Return the config of the part in a sub-folder, without loading the part."""
        return read_json(self.path / folder / "config.json")

    @torch.inference_mode()
    def encode_images(self, images: Tensor) -> Tensor:
        """Encode images [B, C, H, W] in [0, 1] to scaled posterior means, float32 on the CPU."""
        x = images.to(self.device, self.vae.dtype) * 2 - 1
        shift = self.vae.config.shift_factor or 0.0  # only flow models have one
        return ((self.vae.encode(x).latent_dist.mean.float() - shift) * self.vae.config.scaling_factor).cpu()

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents to images [B, C, H, W] in [0, 1], float32 on the CPU."""
        shift = self.vae.config.shift_factor or 0.0
        x = self.vae.decode(latents.to(self.vae.dtype) / self.vae.config.scaling_factor + shift).sample
        return (x.float() / 2 + 0.5).clamp(0, 1).cpu()
