"""FLUX.1 (experimental): a flow-matching transformer, which the paper tried as a classifier and set aside (B.1.2).

x_t = (1 - sigma) x_0 + sigma eps with sigma = t / 1000; the model predicts v = eps - x_0, so eps = x_t + (1 - sigma) v.
"""

from __future__ import annotations

from functools import cached_property

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from torch import Tensor
from torch.nn.functional import pad
from transformers import AutoTokenizer, CLIPTextModel, CLIPTokenizer, T5EncoderModel

from bigain.backbones.base import Backbone

T = 1000
PROMPT_TOKENS = 512  # to which FluxPipeline pads T5's


class Flux(Backbone):
    """A `FluxPipeline` folder. A condition is [1 + L, D]: CLIP's zero-padded pooled vector, then T5's L tokens."""

    folder = "transformer"
    prediction = "velocity"
    guidance = 1.0  # input of a guidance-distilled model: 1 in classification, set by `FlowSampler` in generation

    @cached_property
    def denoiser(self) -> FluxTransformer2DModel:
        return self.load_part(FluxTransformer2DModel, "transformer")

    @cached_property
    def scheduler(self) -> FlowMatchEulerDiscreteScheduler:
        return self.load_scheduler(FlowMatchEulerDiscreteScheduler)

    @cached_property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width at the autoencoder's native resolution; the transformer has no resolution."""
        vae = self.config_of("vae")
        side = vae["sample_size"] // 2 ** (len(vae["block_out_channels"]) - 1)
        return vae["latent_channels"], side, side

    def prompt_tokens(self, prompts: list[str]) -> tuple[list[list[int]], int]:
        """Return T5's: CLIP's pooled vector, of a prompt's first 77 tokens, only modulates."""
        t5 = self.load_tokenizer(AutoTokenizer, "tokenizer_2")
        return t5(prompts).input_ids, min(PROMPT_TOKENS, t5.model_max_length)

    @torch.inference_mode()
    def conditions(self, prompts: list[str], class_ids: list[int]) -> Tensor:
        clip = self.load_tokenizer(CLIPTokenizer, "tokenizer")
        t5 = self.load_tokenizer(AutoTokenizer, "tokenizer_2")
        clip_encoder = self.load_part(CLIPTextModel, "text_encoder")
        t5_encoder = self.load_part(T5EncoderModel, "text_encoder_2")
        padding = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        length = min(PROMPT_TOKENS, t5.model_max_length)
        rows = []
        for prompt in prompts:
            clip_ids, t5_ids = clip(prompt, **padding).input_ids, t5(prompt, max_length=length, **padding).input_ids
            vector = clip_encoder(clip_ids.to(self.device)).pooler_output
            sequence = t5_encoder(t5_ids.to(self.device))[0]
            vector = pad(vector, (0, sequence.shape[-1] - vector.shape[-1]))
            rows.append(torch.cat([vector[:, None], sequence], dim=1).cpu())
        return torch.cat(rows)

    def null_condition(self) -> Tensor:
        return self.conditions([""], [])

    def noised(self, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """Return x_t = (1 - sigma) x_0 + sigma eps."""
        sigma = (t.float() / T).view(-1, 1, 1, 1)
        return (1 - sigma) * x_0 + sigma * eps

    def predict(self, x_t: Tensor, t: Tensor, conditions: Tensor) -> Tensor:
        """Return the velocity v = eps - x_0."""
        batch, channels, height, width = x_t.shape
        pooled = conditions[:, 0, : self.denoiser.config.pooled_projection_dim]
        rows, columns = torch.meshgrid(torch.arange(height // 2), torch.arange(width // 2), indexing="ij")
        positions = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3)
        guidance = torch.full((batch,), self.guidance, device=x_t.device)
        patches = x_t.reshape(batch, channels, height // 2, 2, width // 2, 2)
        velocity = self.denoiser(
            hidden_states=patches.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * 4),
            encoder_hidden_states=conditions[:, 1:],
            pooled_projections=pooled,
            timestep=(t.float() / T).expand(batch).to(x_t.dtype),
            img_ids=positions.to(x_t),
            txt_ids=x_t.new_zeros(conditions.shape[1] - 1, 3),
            guidance=guidance if self.denoiser.config.guidance_embeds else None,
            return_dict=False,
        )[0]
        patches = velocity.reshape(batch, height // 2, width // 2, channels, 2, 2)
        return patches.permute(0, 3, 1, 4, 2, 5).reshape(x_t.shape)

    def predict_noise(self, x_t: Tensor, t: Tensor, conditions: Tensor) -> Tensor:
        """Return eps = x_t + (1 - sigma) v."""
        sigma = (t.float() / T).expand(len(x_t)).view(-1, 1, 1, 1)
        return x_t.float() + (1 - sigma) * self.predict(x_t, t, conditions).float()
