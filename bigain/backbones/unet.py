"""Stable Diffusion: a text-conditioned U-Net (`mini_unet`, `sd2`), sampled with Euler (B.2.2)."""

from __future__ import annotations

from functools import cached_property

import torch
from diffusers import EulerDiscreteScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from bigain.backbones.base import Backbone, padded

PROMPT_BATCH = 16  # fixed, so that the encoding of a prompt does not depend on the others


def memory_format(device: torch.device, dtype: torch.dtype) -> torch.memory_format:
    """Return the memory format of a U-Net: channels last where convolutions run on tensor cores, else unchanged.

    On a CPU the format was measured to make no difference.
    """
    on_tensor_cores = device.type == "cuda" and dtype in (torch.float16, torch.bfloat16)
    return torch.channels_last if on_tensor_cores else torch.preserve_format


class StableDiffusion(Backbone):
    """A `StableDiffusionPipeline` folder, whose U-Net predicts epsilon or v."""

    folder = "unet"
    family = "unet"

    @cached_property
    def denoiser(self) -> UNet2DConditionModel:
        return self.load_part(UNet2DConditionModel, "unet").to(memory_format=memory_format(self.device, self.dtype))

    @cached_property
    def scheduler(self) -> EulerDiscreteScheduler:
        return self.checked(self.load_scheduler(EulerDiscreteScheduler, timestep_spacing="linspace"))

    @cached_property
    def text_encoder(self) -> CLIPTextModel:
        """The text encoder."""
        return self.load_part(CLIPTextModel, "text_encoder")

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        """The tokenizer."""
        return self.load_tokenizer(CLIPTokenizer, "tokenizer")

    @torch.inference_mode()
    def conditions(self, prompts: list[str], class_ids: list[int]) -> Tensor:
        """Encode prompts, padded to the tokenizer's length and without attention mask, to [K, L, D]."""
        ids = self.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        return torch.cat([self._encoded(part) for part in ids.split(PROMPT_BATCH)])

    def _encoded(self, ids: Tensor) -> Tensor:
        batch = padded(ids, PROMPT_BATCH).to(self.device)
        return self.text_encoder(batch)[0][: len(ids)].cpu()

    def null_condition(self) -> Tensor:
        return self.conditions([""], [])

    def predict(self, x_t: Tensor, t: Tensor, conditions: Tensor) -> Tensor:
        return self.denoiser(x_t, t, encoder_hidden_states=conditions, return_dict=False)[0]
