"""Start a flow transformer from a trained DiT: the image stream takes over its blocks, the modulation is fitted.

A DiT and a joint block of Stable Diffusion 3 differ in the text stream and in who computes the modulation (shifts,
scales and gates of adaLN): each block of the DiT from a class embedding of its own, the joint blocks from one embedding
of the pooled prompt. The fit is a regression without a single image: both are functions of time and class.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DiTPipeline, DiTTransformer2DModel, SD3Transformer2DModel
from torch import Tensor

from bigain.core.rng import torch_generator
from bigain.datasets.fashion_mnist import CLASSES, prompt

STEPS = 600
BATCH = 128
NULL_CLASS = 1000
POSITION_SCALE = 0.85  # x_t of a flow is smaller than a DDPM's, by 0.71 to 1; so are its positions, once for all sigma
READOUT_BATCHES, READOUT_BATCH = 12, 32
RIDGE = 1e-3


def timestep_of(sigma: Tensor, alphas_bar: Tensor) -> Tensor:
    """Return the (fractional) timestep at which x_t of a DDPM has the signal-to-noise ratio of x_sigma of a flow."""
    wanted = (1 - sigma).square() / ((1 - sigma).square() + sigma.square())
    steps = np.arange(len(alphas_bar))[::-1]
    return torch.from_numpy(np.interp(wanted.numpy(), alphas_bar.numpy()[::-1], steps)).float()


def relative_norm(sigma: Tensor) -> Tensor:
    """Return the size of x_sigma of a flow relative to the x_t of a DDPM with the same signal-to-noise ratio."""
    return ((1 - sigma).square() + sigma.square()).sqrt()


def initialise(
    model: SD3Transformer2DModel,
    dit: DiTPipeline,
    encode: Callable[[list[str]], tuple[Tensor, Tensor]],
    batch: Callable[[int], tuple[Tensor, list[str], Tensor, Tensor]],
    seed: int,
) -> None:
    """Copy the image blocks of a DiT, silence the text stream's keys and values, fit the modulation and the readout.

    `encode(captions)` returns sequences and pooled vectors; `batch(step)` draws x_t, captions, sigma and v.
    """
    source = dit.transformer
    model.pos_embed.proj.load_state_dict(source.pos_embed.proj.state_dict())
    for block, other in zip(model.transformer_blocks, source.transformer_blocks, strict=True):
        for name in ("to_q", "to_k", "to_v", "to_out"):
            getattr(block.attn, name).load_state_dict(getattr(other.attn1, name).state_dict())
        block.ff.load_state_dict(other.ff.state_dict())
        for layer in (block.attn.add_k_proj, block.attn.add_v_proj):
            torch.nn.init.zeros_(layer.weight)
    model.pos_embed.pos_embed.mul_(POSITION_SCALE)
    with torch.no_grad():
        vectors = encode([*map(prompt, CLASSES), ""])[1]
    _fit_modulation(model, source, dit.scheduler.alphas_cumprod, vectors, seed)
    _fit_readout(model, encode, batch)


def _fit_modulation(
    model: SD3Transformer2DModel, source: DiTTransformer2DModel, alphas_bar: Tensor, vectors: Tensor, seed: int
) -> None:
    weights = [
        *model.time_text_embed.parameters(),
        *(weight for block in model.transformer_blocks for weight in block.norm1.linear.parameters()),
        *model.norm_out.linear.parameters(),
    ]
    optimizer = torch.optim.AdamW(weights, lr=2e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(STEPS):
        generator = torch_generator(seed, "modulation", step)
        sigma = torch.rand(BATCH, generator=generator)
        drawn = torch.randint(len(vectors), (BATCH,), generator=generator)
        classes = torch.where(drawn < len(CLASSES), drawn, NULL_CLASS)
        with torch.no_grad():
            wanted = dit_modulation(source, timestep_of(sigma, alphas_bar), classes, relative_norm(sigma))
        loss = F.mse_loss(mmdit_modulation(model, 1000 * sigma, vectors[drawn]), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step + 1 == STEPS:
            print(f"modulation fitted: squared error {loss.item():.5f} of {wanted.var().item():.5f}")


def _fit_readout(
    model: SD3Transformer2DModel,
    encode: Callable[[list[str]], tuple[Tensor, Tensor]],
    batch: Callable[[int], tuple[Tensor, list[str], Tensor, Tensor]],
) -> None:
    """Fit the last linear layer to v by ridge regression on the modulated tokens before it."""
    tokens: list[Tensor] = []
    hook = model.norm_out.register_forward_hook(lambda module, inputs, output: tokens.append(output.flatten(0, 1)))
    targets = []
    with torch.no_grad():
        for step in range(READOUT_BATCHES):
            x_t, captions, sigma, v = batch(step)
            sequence, pooled = encode(captions)
            model(x_t, encoder_hidden_states=sequence, pooled_projections=pooled, timestep=1000 * sigma)
            targets.append(v.flatten(2).transpose(1, 2).flatten(0, 1))
        hook.remove()
        x, y = torch.cat(tokens), torch.cat(targets)
        x = torch.cat([x, x.new_ones(len(x), 1)], dim=1).double()
        gram = x.T @ x + RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
        solution = torch.linalg.solve(gram, x.T @ y.double())
        model.proj_out.weight.copy_(solution[:-1].T)
        model.proj_out.bias.copy_(solution[-1])
        print(f"readout fitted: squared error {(x @ solution - y).square().mean().item():.4f} of {y.var().item():.4f}")


def dit_modulation(source: DiTTransformer2DModel, t: Tensor, classes: Tensor, norm: Tensor) -> Tensor:
    """Return the modulation of all blocks and of the output layer, [B, (6 L + 2) D], with gates times `norm` [B].

    Where the input of all blocks is smaller, what they add to it has to be, too.
    """
    parts = []
    for block in source.transformer_blocks:
        modulation = block.norm1.linear(F.silu(block.norm1.emb(t, classes, hidden_dtype=torch.float32)))
        shift, scale, gate, shift_ff, scale_ff, gate_ff = modulation.chunk(6, dim=1)
        parts += [shift, scale, norm[:, None] * gate, shift_ff, scale_ff, norm[:, None] * gate_ff]
    embedding = source.transformer_blocks[0].norm1.emb(t, classes, hidden_dtype=torch.float32)
    shift, scale = source.proj_out_1(F.silu(embedding)).chunk(2, dim=1)
    return torch.cat([*parts, scale, shift], dim=1)


def mmdit_modulation(model: SD3Transformer2DModel, timestep: Tensor, pooled: Tensor) -> Tensor:
    """Return the modulation of all image blocks and of the output layer: [B, (6 L + 2) D]."""
    embedding = F.silu(model.time_text_embed(timestep, pooled))
    layers = [*(block.norm1.linear for block in model.transformer_blocks), model.norm_out.linear]
    return torch.cat([layer(embedding) for layer in layers], dim=1)
