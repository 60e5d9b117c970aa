"""Stable Diffusion 3 and 3.5: a flow-matching transformer with joint blocks (MMDiT), prompts by CLIP twice and T5."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor
from torch.nn.functional import pad
from transformers import AutoTokenizer, CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel

from bigain.backbones.flow import FlowBackbone, packed

T5_TOKENS = 256  # to which StableDiffusion3Pipeline pads T5's, unless its tokenizer's own limit is lower


class StableDiffusion3(FlowBackbone):
    """A `StableDiffusion3Pipeline` folder.

    The sequence of a condition is [CLIP and OpenCLIP side by side; T5], its pooled vector both CLIPs' projections. T5
    may be missing, as in the pipeline: its tokens are then zeros. Encoders are loaded one after the other and dropped
    when all prompts are encoded.
    """

    @cached_property
    def denoiser(self) -> SD3Transformer2DModel:
        return self.load_part(SD3Transformer2DModel, "transformer")

    def prompt_tokens(self, prompts: list[str]) -> tuple[list[list[int]], int]:
        """Return those of CLIP, whose limit is the lowest."""
        clip = self.load_tokenizer(CLIPTokenizer, "tokenizer")
        return clip(prompts).input_ids, clip.model_max_length

    @torch.inference_mode()
    def conditions(self, prompts: list[str], class_ids: list[int]) -> Tensor:
        first, second = self._clip(prompts, ""), self._clip(prompts, "_2")
        pooled, tokens = (torch.cat(parts, dim=-1) for parts in zip(first, second, strict=True))
        t5 = self._t5(prompts)
        return packed(pooled, torch.cat([pad(tokens, (0, t5.shape[-1] - tokens.shape[-1])), t5], dim=1))

    def _clip(self, prompts: list[str], suffix: str) -> tuple[Tensor, Tensor]:
        """Return the projected vectors [K, P] and the tokens [K, L, D] before the last layer of a CLIP encoder."""
        length = self.load_tokenizer(CLIPTokenizer, "tokenizer").model_max_length  # the first one's, for both
        ids = self._ids(self.load_tokenizer(CLIPTokenizer, f"tokenizer{suffix}"), prompts, length)
        encoder = self.load_part(CLIPTextModelWithProjection, f"text_encoder{suffix}")
        outputs = [encoder(row.to(self.device), output_hidden_states=True) for row in ids.split(1)]
        vectors, tokens = zip(*((output.text_embeds, output.hidden_states[-2]) for output in outputs), strict=True)
        return torch.cat(vectors).cpu(), torch.cat(tokens).cpu()

    def _t5(self, prompts: list[str]) -> Tensor:
        """Return T5's tokens [K, L, D]."""
        if not self.has_part("text_encoder_3"):
            width = self.config_of("transformer")["joint_attention_dim"]
            return torch.zeros(len(prompts), T5_TOKENS, width, dtype=self.dtype)
        tokenizer = self.load_tokenizer(AutoTokenizer, "tokenizer_3")
        ids = self._ids(tokenizer, prompts, min(T5_TOKENS, tokenizer.model_max_length))
        encoder = self.load_part(T5EncoderModel, "text_encoder_3")
        return torch.cat([encoder(row.to(self.device))[0].cpu() for row in ids.split(1)])

    @staticmethod
    def _ids(tokenizer: Any, prompts: list[str], length: int) -> Tensor:
        padding = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        return tokenizer(prompts, max_length=length, **padding).input_ids

    def predict(self, x_t: Tensor, t: Tensor, conditions: Tensor) -> Tensor:
        """Return the velocity v = eps - x_0."""
        pooled, sequence = self.unpacked(conditions)
        return self.denoiser(
            hidden_states=x_t,
            timestep=t.expand(len(x_t)),
            encoder_hidden_states=sequence,
            pooled_projections=pooled,
            return_dict=False,
        )[0]
