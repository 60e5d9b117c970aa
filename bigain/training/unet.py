"""`mini_unet`: a text-conditioned latent U-Net with epsilon prediction and Stable Diffusion 2.0's attention layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn

from bigain.core.rng import numpy_generator, torch_generator
from bigain.training import text
from bigain.training.loop import Recipe, train
from bigain.training.noising import noised

RECIPE = Recipe(
    steps=7000, batch_size=32, learning_rate=1e-3, muon_learning_rate=3e-3, decay_fraction=0.7, ema_decay=0.999
)
UNCONDITIONAL_FRACTION = 0.1  # captions replaced by "" for classifier-free guidance


def build() -> UNet2DConditionModel:
    """Build a U-Net with five self-attention blocks at the highest resolution (2 down, 3 up; 256 tokens) and one in the
    middle."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(32, 64),
        layers_per_block=2,
        norm_num_groups=8,
        cross_attention_dim=text.WIDTH,
        attention_head_dim=(2, 4),  # diffusers' name for the number of heads
        use_linear_projection=True,
    )


def build_scheduler() -> EulerDiscreteScheduler:
    """Build a scheduler with scaled-linear betas, as Stable Diffusion 2.0 has."""
    return EulerDiscreteScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type="epsilon", steps_offset=1
    )


class Conditional(nn.Module):
    """U-Net and text encoder as one module, which shares an optimiser and a checkpoint."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: nn.Module) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder


def hidden_matrices(model: Conditional) -> list[str]:
    """Name the weights that Muon trains: those of the U-Net's blocks and of the text encoder's layers."""
    return [
        name
        for name, weight in model.named_parameters()
        if weight.ndim >= 2 and (".encoder.layers." in name or "_blocks." in name or ".mid_block." in name)
    ]


def train_unet(
    vae: AutoencoderKL,
    words: list[str],
    latents: Tensor,
    draw: Callable[[np.random.Generator], tuple[int, str]],
    folder: Path,
    seed: int,
    recipe: Recipe = RECIPE,
    compile_unet: bool = True,
    start: StableDiffusionPipeline | None = None,
) -> StableDiffusionPipeline:
    """Train U-Net and text encoder to predict eps; return the pipeline with the averaged weights.

    `latents` are [N, 4, 16, 16]; `draw(generator)` draws (index of a latent, caption); `words` are those of the
    captions. Training starts from the weights of the pipeline `start`, if given.
    """
    torch.manual_seed(seed)
    tokenizer = text.build_tokenizer(words)
    model = Conditional(build(), text.build_encoder(tokenizer)).train()
    if start is not None:
        model.unet.load_state_dict(start.unet.state_dict())
        model.text_encoder.load_state_dict(start.text_encoder.state_dict())
    scheduler = build_scheduler()
    predict = torch.compile(model.unet, dynamic=False) if compile_unet else model.unet

    def loss_of_step(step: int) -> Tensor:
        numbers = numpy_generator(seed, "unet batch", step)
        batch = [draw(numbers) for _ in range(recipe.batch_size)]
        dropped = numbers.random(recipe.batch_size) < UNCONDITIONAL_FRACTION
        captions = ["" if drop else caption for (_, caption), drop in zip(batch, dropped, strict=True)]
        x_0 = latents[[index for index, _ in batch]]
        x_t, t, eps = noised(x_0, scheduler.alphas_cumprod, torch_generator(seed, "unet noise", step))
        ids = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        context = model.text_encoder(ids)[0]
        return F.mse_loss(predict(x_t, t, encoder_hidden_states=context, return_dict=False)[0], eps)

    average = train(model, recipe, loss_of_step, folder, hidden_matrices(model))
    model.load_state_dict(average, strict=False)  # buffers (position ids) are not averaged
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=model.text_encoder.eval(),
        tokenizer=tokenizer,
        unet=model.unet.eval(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
