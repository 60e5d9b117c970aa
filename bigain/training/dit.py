"""`mini_dit`: a class-conditioned diffusion transformer (adaLN-zero, learned sigma), DiT-XL/2 in small."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from torch import Tensor, nn

from bigain.core.rng import numpy_generator, torch_generator
from bigain.training.loop import Recipe, train
from bigain.training.noising import noised

RECIPE = Recipe(
    steps=8000, batch_size=32, learning_rate=1e-3, muon_learning_rate=3e-3, decay_fraction=0.7, ema_decay=0.999
)
NULL_CLASS = 1000  # diffusers' DiTPipeline hard-codes it
UNCONDITIONAL_FRACTION = 0.1
VARIATIONAL_WEIGHT = 1e-3  # of the bound that trains sigma (Nichol & Dhariwal 2021, L_hybrid)


def build() -> DiTTransformer2DModel:
    """Build six blocks of width 96 over 16x16 tokens, initialised as adaLN-zero: each starts as the identity."""
    model = DiTTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=24,
        in_channels=4,
        out_channels=8,
        num_layers=6,
        sample_size=16,
        patch_size=1,
        num_embeds_ada_norm=NULL_CLASS,
    )
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
    for block in model.transformer_blocks:
        nn.init.zeros_(block.norm1.linear.weight)
    nn.init.zeros_(model.proj_out_1.weight)
    nn.init.zeros_(model.proj_out_2.weight)
    return model


def hidden_matrices(model: DiTTransformer2DModel) -> list[str]:
    """Name the weights that Muon trains: those of attention and feed-forward layers."""
    return [
        name for name, weight in model.named_parameters() if weight.ndim == 2 and (".attn1." in name or ".ff." in name)
    ]


def build_scheduler() -> DDIMScheduler:
    """Build a scheduler with linear betas, as DiT-XL/2 has."""
    return DDIMScheduler(
        beta_schedule="linear", beta_start=1e-4, beta_end=0.02, clip_sample=False, prediction_type="epsilon"
    )


def sigma_loss(v: Tensor, error: Tensor, t: Tensor, betas: Tensor, alphas_bar: Tensor) -> Tensor:
    """KL(q(x_{t-1} | x_t, x_0) || N(mu_theta, Sigma_theta)), log Sigma = w log beta + (1 - w) log beta_tilde.

    w = (v + 1) / 2 for the raw output `v`; `error` = eps - eps_theta (detached); both [B, C, H, W]; t [B].
    """

    def at(values: Tensor) -> Tensor:
        return values[t].view(-1, 1, 1, 1)

    previous = torch.cat([alphas_bar.new_ones(1), alphas_bar[:-1]])
    beta_tilde = betas * (1 - previous) / (1 - alphas_bar)
    beta_tilde[0] = beta_tilde[1]  # it is zero at t = 0
    true_log, upper_log = at(beta_tilde.log()), at(betas.log())
    log_variance = (v + 1) / 2 * upper_log + (1 - v) / 2 * true_log
    mean_gap = at(betas / ((1 - betas).sqrt() * (1 - alphas_bar).sqrt())) * error
    exponent = (true_log - log_variance).exp() + mean_gap.square() * (-log_variance).exp()
    return 0.5 * (log_variance - true_log + exponent - 1).mean()


def train_dit(
    vae: AutoencoderKL,
    latents: Tensor,
    labels: Tensor,
    class_names: tuple[str, ...],
    folder: Path,
    seed: int,
    recipe: Recipe = RECIPE,
    compile_transformer: bool = True,
    start: DiTPipeline | None = None,
) -> DiTPipeline:
    """Train to predict eps and sigma; return the pipeline with the averaged weights.

    The model stays in eval mode and labels are dropped once per sample: in train mode diffusers drops the label in each
    block independently. Training starts from the weights of the pipeline `start`, if given.
    """
    torch.manual_seed(seed)
    model = build().eval()
    if start is not None:
        model.load_state_dict(start.transformer.state_dict())
    scheduler = build_scheduler()
    predict = torch.compile(model, dynamic=False) if compile_transformer else model

    def loss_of_step(step: int) -> Tensor:
        numbers = numpy_generator(seed, "dit batch", step)
        chosen = torch.from_numpy(numbers.integers(len(latents), size=recipe.batch_size))
        dropped = torch.from_numpy(numbers.random(recipe.batch_size) < UNCONDITIONAL_FRACTION)
        classes = torch.where(dropped, NULL_CLASS, labels[chosen])
        x_t, t, eps = noised(latents[chosen], scheduler.alphas_cumprod, torch_generator(seed, "dit noise", step))
        prediction, v = predict(x_t, timestep=t, class_labels=classes, return_dict=False)[0].chunk(2, dim=1)
        sigma = sigma_loss(v, (eps - prediction).detach(), t, scheduler.betas, scheduler.alphas_cumprod)
        return F.mse_loss(prediction, eps) + VARIATIONAL_WEIGHT * sigma

    average = train(model, recipe, loss_of_step, folder, hidden_matrices(model))
    model.load_state_dict(average, strict=False)  # the sinusoidal position table is a buffer
    id2label = dict(enumerate(class_names))
    pipeline = DiTPipeline(transformer=model, vae=vae, scheduler=scheduler, id2label=id2label)
    pipeline.register_to_config(id2label=id2label)  # otherwise the saved pipeline has no labels
    return pipeline
