"""Stable Diffusion 3 and 3.5: a flow-matching transformer with joint blocks (MMDiT), prompts by CLIP twice and T5."""

from __future__ import annotations

from functools import cached_property

import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor
from torch.nn.functional import pad
from transformers import CLIPTextModelWithProjection, T5EncoderModel

from bigain.backbones.flow import FlowBackbone, packed, token_ids
from bigain.core.prompts import T5_TOKENS, Reader


class StableDiffusion3(FlowBackbone):
    """A `StableDiffusion3Pipeline` folder.

    The sequence of a condition is [CLIP and OpenCLIP side by side; T5], its pooled vector both CLIPs' projections. T5
    may be missing, as in the pipeline: its tokens are then zeros. Encoders are loaded one after the other and dropped
    when all prompts are encoded.
    """

    family = "mmdit"

    @cached_property
    def denoiser(self) -> SD3Transformer2DModel:
        return self.load_part(SD3Transformer2DModel, "transformer")

    @torch.inference_mode()
    def conditions(self, prompts: list[str], class_ids: list[int]) -> Tensor:
        first, second, *t5_reader = self.readers()
        clips = self._clip(first, prompts), self._clip(second, prompts)
        pooled, tokens = (torch.cat(parts, dim=-1) for parts in zip(*clips, strict=True))
        t5 = self._t5(t5_reader[0], prompts) if t5_reader else self._zeros(len(prompts))
        return packed(pooled, torch.cat([pad(tokens, (0, t5.shape[-1] - tokens.shape[-1])), t5], dim=1))

    def _clip(self, reader: Reader, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """Return the projected vectors [K, P] and the tokens [K, L, D] before the last layer of a CLIP encoder."""
        encoder, ids = self.load_part(CLIPTextModelWithProjection, reader.name), token_ids(reader, prompts)
        outputs = [encoder(row.to(self.device), output_hidden_states=True) for row in ids.split(1)]
        vectors, tokens = zip(*((output.text_embeds, output.hidden_states[-2]) for output in outputs), strict=True)
        return torch.cat(vectors).cpu(), torch.cat(tokens).cpu()

    def _t5(self, reader: Reader, prompts: list[str]) -> Tensor:
        """Return T5's tokens [K, L, D]."""
        encoder, ids = self.load_part(T5EncoderModel, reader.name), token_ids(reader, prompts)
        return torch.cat([encoder(row.to(self.device))[0].cpu() for row in ids.split(1)])

    def _zeros(self, prompts: int) -> Tensor:
        """Return what stands for T5's tokens [K, L, D] in a pipeline without it."""
        width = self.config_of("transformer")["joint_attention_dim"]
        return torch.zeros(prompts, T5_TOKENS["mmdit"], width, dtype=self.dtype)

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
