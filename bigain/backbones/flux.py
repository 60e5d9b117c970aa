"""FLUX.1: a flow-matching transformer, which the paper tried as a classifier and set aside (B.1.2)."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from torch import Tensor
from transformers import CLIPTextModel, T5EncoderModel

from bigain.backbones.flow import FlowBackbone, T, packed, token_ids


class Flux(FlowBackbone):
    """A `FluxPipeline` folder. The sequence of a condition is T5's, its pooled vector CLIP's.

    The encoders are dropped when all prompts are encoded.
    """

    family = "flux"
    guidance = 1.0  # input of a guidance-distilled model: 1 in classification, set by `FlowSampler` in generation

    @cached_property
    def denoiser(self) -> FluxTransformer2DModel:
        return self.load_part(FluxTransformer2DModel, "transformer")

    @property
    def is_distilled(self) -> bool:
        """Return whether the guidance is an input of the model, which then needs no null condition."""
        return self.denoiser.config.guidance_embeds

    @cached_property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width at the autoencoder's native resolution; the transformer has no resolution."""
        vae = self.config_of("vae")
        side = vae["sample_size"] // 2 ** (len(vae["block_out_channels"]) - 1)
        return vae["latent_channels"], side, side

    @property
    def image_tokens(self) -> int:
        """Number of image tokens at the native resolution: one for 2x2 places of a latent."""
        _, height, width = self.latent_shape
        return height * width // 4

    @torch.inference_mode()
    def conditions(self, prompts: list[str], class_ids: list[int]) -> Tensor:
        clip, t5 = self.readers()
        clip_encoder = self.load_part(CLIPTextModel, "text_encoder")
        t5_encoder = self.load_part(T5EncoderModel, "text_encoder_2")
        rows = []
        for prompt in prompts:
            clip_ids, t5_ids = token_ids(clip, [prompt]), token_ids(t5, [prompt])
            vector = clip_encoder(clip_ids.to(self.device)).pooler_output
            rows.append(packed(vector, t5_encoder(t5_ids.to(self.device))[0]).cpu())
        return torch.cat(rows)

    def set_timesteps(self, scheduler: FlowMatchEulerDiscreteScheduler, steps: int) -> None:
        sigmas = np.linspace(1.0, 1 / steps, steps).tolist()
        scheduler.set_timesteps(sigmas=sigmas, mu=self.dynamic_shift(scheduler))

    def predict(self, x_t: Tensor, t: Tensor, conditions: Tensor) -> Tensor:
        """Return the velocity v = eps - x_0."""
        batch, channels, height, width = x_t.shape
        pooled, sequence = self.unpacked(conditions)
        rows, columns = torch.meshgrid(torch.arange(height // 2), torch.arange(width // 2), indexing="ij")
        positions = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3)
        guidance = torch.full((batch,), self.guidance, device=x_t.device)
        patches = x_t.reshape(batch, channels, height // 2, 2, width // 2, 2)
        velocity = self.denoiser(
            hidden_states=patches.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * 4),
            encoder_hidden_states=sequence,
            pooled_projections=pooled,
            timestep=(t.float() / T).expand(batch).to(x_t.dtype),
            img_ids=positions.to(x_t),
            txt_ids=x_t.new_zeros(sequence.shape[1], 3),
            guidance=guidance if self.is_distilled else None,
            return_dict=False,
        )[0]
        patches = velocity.reshape(batch, height // 2, width // 2, channels, 2, 2)
        return patches.permute(0, 3, 1, 4, 2, 5).reshape(x_t.shape)
