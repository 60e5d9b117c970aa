"""`mini_mmdit`: a text-conditioned flow-matching transformer with joint blocks, Stable Diffusion 3 in small.

x_t = (1 - sigma) x_0 + sigma eps; the model predicts the velocity v = eps - x_0 (Esser et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import (
    DiTPipeline,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
)
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from bigain.core.rng import numpy_generator, torch_generator
from bigain.training import from_dit, text
from bigain.training.autoencoder import encode_all
from bigain.training.loop import Recipe, train
from bigain.training.noising import interpolated

RECIPE = Recipe(  # from mini_dit's blocks; batches are small because both cores are shared
    steps=1500,
    batch_size=16,
    learning_rate=1e-3,
    muon_learning_rate=2e-3,
    warmup=50,
    decay_fraction=0.8,
    ema_decay=0.99,
    checkpoint_every=50,
)
UNCONDITIONAL_FRACTION = 0.1  # captions replaced by "" for classifier-free guidance
TIMESTEPS = 1000  # the model's input is 1000 sigma


def build() -> SD3Transformer2DModel:
    """Build six joint blocks of width 96 over 16x16 image tokens, initialised as adaLN-zero.

    The attention layout is that of SD3-medium: no normalisation of queries and keys, no second attention.
    """
    model = SD3Transformer2DModel(
        sample_size=16,
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=6,
        attention_head_dim=24,
        num_attention_heads=4,
        joint_attention_dim=text.T5_WIDTH,
        caption_projection_dim=96,
        pooled_projection_dim=2 * text.WIDTH,
        pos_embed_max_size=16,
    )
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    for block in model.transformer_blocks:
        nn.init.zeros_(block.norm1.linear.weight)
        nn.init.zeros_(block.norm1_context.linear.weight)
    nn.init.zeros_(model.norm_out.linear.weight)
    nn.init.zeros_(model.proj_out.weight)
    return model


class Conditional(nn.Module):
    """Transformer and T5 encoder as one module, which shares an optimiser and a checkpoint."""

    def __init__(self, transformer: SD3Transformer2DModel, text_encoder_3: T5EncoderModel) -> None:
        super().__init__()
        self.transformer, self.text_encoder_3 = transformer, text_encoder_3


class Prompts(nn.Module):
    """The three encoders of Stable Diffusion 3; both CLIP encoders are `mini_unet`'s, and frozen."""

    def __init__(self, clip: CLIPTextModelWithProjection, tokenizer: CLIPTokenizer, words: list[str]) -> None:
        super().__init__()
        self.clip, self.tokenizer = clip.eval().requires_grad_(False), tokenizer
        self.t5_tokenizer: T5Tokenizer = text.build_t5_tokenizer(words)
        self.t5 = text.build_t5(self.t5_tokenizer)
        self.seen: dict[str, tuple[Tensor, Tensor, Tensor]] = {}  # CLIP's tokens and vector, T5's ids

    def encode(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """Return the sequences [B, 40, 128], CLIP's tokens before T5's, and the pooled vectors [B, 128]."""
        for caption in set(captions) - set(self.seen):
            self.seen[caption] = self._frozen(caption)
        tokens, vectors, ids = map(torch.cat, zip(*(self.seen[caption] for caption in captions), strict=True))
        return torch.cat([tokens, self.t5(ids)[0]], dim=1), vectors

    @torch.no_grad()
    def _frozen(self, caption: str) -> tuple[Tensor, Tensor, Tensor]:
        padding = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        clip = self.clip(self.tokenizer(caption, **padding).input_ids, output_hidden_states=True)
        tokens = torch.cat(2 * [clip.hidden_states[-2]], dim=-1)
        vector = torch.cat(2 * [clip.text_embeds], dim=-1)
        return (
            F.pad(tokens, (0, text.T5_WIDTH - tokens.shape[-1])),
            vector,
            self.t5_tokenizer(caption, **padding).input_ids,
        )


def hidden_matrices(model: Conditional) -> list[str]:
    """Name the weights that Muon trains: those of attention and feed-forward layers, of the T5 encoder too."""
    return [
        name
        for name, weight in model.named_parameters()
        if weight.ndim == 2
        and "norm" not in name
        and (".transformer_blocks." in name or ".encoder.block." in name)
        and "relative_attention_bias" not in name
    ]


def train_mmdit(
    unet: StableDiffusionPipeline,
    dit: DiTPipeline | None,
    words: list[str],
    images: np.ndarray,
    draw: Callable[[np.random.Generator], tuple[int, str]],
    folder: Path,
    seed: int,
    recipe: Recipe = RECIPE,
    start: StableDiffusion3Pipeline | None = None,
) -> StableDiffusion3Pipeline:
    """Train transformer and T5 encoder to predict v, sigma from the logit-normal distribution of SD3.

    `images` are uint8 [N, 32, 32]; `draw(generator)` draws (index of an image, caption); `words` are those of the
    captions. Autoencoder and CLIP encoders are those of `unet`. The image stream starts from the blocks of `dit`, if
    there is one; training starts from the weights of the pipeline `start` instead, if given.
    """
    torch.manual_seed(seed)
    prompts = Prompts(text.with_projection(unet.text_encoder), unet.tokenizer, words)
    model = Conditional(build(), prompts.t5).train()
    if start is not None:
        model.transformer.load_state_dict(start.transformer.state_dict())
        model.text_encoder_3.load_state_dict(start.text_encoder_3.state_dict())

    def batch_of_step(step: int, purpose: str = "mmdit") -> tuple[Tensor, list[str], Tensor, Tensor]:
        numbers = numpy_generator(seed, f"{purpose} batch", step)
        drawn = [draw(numbers) for _ in range(recipe.batch_size)]
        dropped = numbers.random(recipe.batch_size) < UNCONDITIONAL_FRACTION
        captions = ["" if drop else caption for (_, caption), drop in zip(drawn, dropped, strict=True)]
        x_0 = encode_all(unet.vae, images[[index for index, _ in drawn]])
        x_t, sigma, v = interpolated(x_0, torch_generator(seed, f"{purpose} noise", step))
        return x_t, captions, sigma, v

    if start is None and dit is not None and not (folder / "checkpoint.safetensors").exists():
        from_dit.initialise(model.transformer, dit, prompts.encode, lambda step: batch_of_step(step, "readout"), seed)

    def loss_of_step(step: int) -> Tensor:
        x_t, captions, sigma, v = batch_of_step(step)
        sequence, pooled = prompts.encode(captions)
        inputs = {"encoder_hidden_states": sequence, "pooled_projections": pooled, "timestep": TIMESTEPS * sigma}
        return F.mse_loss(model.transformer(x_t, **inputs, return_dict=False)[0], v)

    average = train(model, recipe, loss_of_step, folder, hidden_matrices(model))
    model.load_state_dict(average, strict=False)  # the sinusoidal position table is a buffer
    return StableDiffusion3Pipeline(
        transformer=model.transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=TIMESTEPS, shift=1.0),
        vae=unet.vae,
        text_encoder=prompts.clip,
        tokenizer=prompts.tokenizer,
        text_encoder_2=prompts.clip,
        tokenizer_2=prompts.tokenizer,
        text_encoder_3=model.text_encoder_3.eval(),
        tokenizer_3=prompts.t5_tokenizer,
    )
