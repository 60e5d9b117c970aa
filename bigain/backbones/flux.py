"""FLUX.1 (experimental): a flow-matching transformer, which the paper tried as a classifier and set aside (B.1.2).

x_t = (1 - sigma) x_0 + sigma eps with sigma = t / 1000; the model says v = eps - x_0, so eps = x_t + (1 - sigma) v.
"""

from __future__ import annotations

from functools import cached_property

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from torch import Tensor
from torch.nn.functional import pad
from transformers import AutoTokenizer, CLIPTextModel, CLIPTokenizer, T5EncoderModel

from bigain.backbones.base import Backbone
from bigain.core.files import read_json

T = 1000
PROMPT_TOKENS = 512  # of T5, as FluxPipeline pads


class Flux(Backbone):
    """A `FluxPipeline` folder. A condition is [1 + L, D]: CLIP's pooled vector padded with zeros, then T5's L tokens.

    The guidance that a distilled model takes as an input is 1 in classification, and what is asked for in sampling.
    """

    folder = "transformer"
    prediction = "velocity"
    guidance = 1.0

    @cached_property
    def denoiser(self) -> FluxTransformer2DModel:
        return self.part(FluxTransformer2DModel, "transformer")

    @cached_property
    def scheduler(self) -> FlowMatchEulerDiscreteScheduler:
        return FlowMatchEulerDiscreteScheduler.from_pretrained(self.path, subfolder="scheduler")

    @cached_property
    def latent_shape(self) -> tuple[int, int, int]:
        """Of the autoencoder's own size: a transformer without position embeddings has none."""
        vae = read_json(self.path / "vae" / "config.json")
        side = vae["sample_size"] // 2 ** (len(vae["block_out_channels"]) - 1)
        return vae["latent_channels"], side, side

    @torch.inference_mode()
    def conditions(self, prompts: list[str], class_ids: list[int]) -> Tensor:
        clip = CLIPTokenizer.from_pretrained(self.path, subfolder="tokenizer")
        t5 = AutoTokenizer.from_pretrained(self.path, subfolder="tokenizer_2")
        pooled, tokens = self.part(CLIPTextModel, "text_encoder"), self.part(T5EncoderModel, "text_encoder_2")
        padded = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        length = min(PROMPT_TOKENS, t5.model_max_length)
        rows = []
        for prompt in prompts:
            short, long = clip(prompt, **padded), t5(prompt, max_length=length, **padded)
            first = pooled(short.input_ids.to(self.device)).pooler_output
            rest = tokens(long.input_ids.to(self.device))[0]
            rows.append(torch.cat([pad(first, (0, rest.shape[-1] - first.shape[-1]))[:, None], rest], dim=1).cpu())
        return torch.cat(rows)

    def null_condition(self) -> Tensor:
        return self.conditions([""], [])

    def noised(self, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t = (1 - sigma) x_0 + sigma eps."""
        sigma = (t.float() / T).view(-1, 1, 1, 1)
        return (1 - sigma) * x_0 + sigma * eps

    def predict(self, x_t: Tensor, t: Tensor, conditions: Tensor) -> Tensor:
        """The velocity v = eps - x_0."""
        batch, channels, height, width = x_t.shape
        pooled = conditions[:, 0, : self.denoiser.config.pooled_projection_dim]
        rows, columns = torch.meshgrid(torch.arange(height // 2), torch.arange(width // 2), indexing="ij")
        places = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3)
        guidance = torch.full((batch,), self.guidance, device=x_t.device)
        cells = x_t.reshape(batch, channels, height // 2, 2, width // 2, 2)
        velocity = self.denoiser(
            hidden_states=cells.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * 4),
            encoder_hidden_states=conditions[:, 1:],
            pooled_projections=pooled,
            timestep=(t.float() / T).expand(batch).to(x_t.dtype),
            img_ids=places.to(x_t),
            txt_ids=x_t.new_zeros(conditions.shape[1] - 1, 3),
            guidance=guidance if self.denoiser.config.guidance_embeds else None,
            return_dict=False,
        )[0]
        cells = velocity.reshape(batch, height // 2, width // 2, channels, 2, 2)
        return cells.permute(0, 3, 1, 4, 2, 5).reshape(x_t.shape)

    def predict_noise(self, x_t: Tensor, t: Tensor, conditions: Tensor) -> Tensor:
        """eps = x_t + (1 - sigma) v."""
        sigma = (t.float() / T).expand(len(x_t)).view(-1, 1, 1, 1)
        return x_t.float() + (1 - sigma) * self.predict(x_t, t, conditions).float()
