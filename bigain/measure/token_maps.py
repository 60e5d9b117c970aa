"""Token maps: the Laplacian score of every token (Eq. 7, Figure 2) and which tokens a method merges away (Figure 3).

Both probe one block, the last that token methods act on: in a U-Net it is on the way up, at the highest resolution that
has attention. The condition is the null condition.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bigain.backbones.base import Backbone
from bigain.classifier.noise import keyed_noise
from bigain.compression.attach import compressed
from bigain.compression.attachment import RowKey
from bigain.compression.targets import Block, family_of, select
from bigain.compression.token_attachment import TokenAttachment
from bigain.methods.options import Sites
from bigain.tokens import TokenGrid, TokenPlan
from bigain.tokens.scores import laplacian_l1

DRAWS_PER_BATCH = 50  # noises of an image that go through the model together


def probed_block(backbone: Backbone, sites: Sites) -> Block:
    """Return the last block that token methods act on; `sites` are options of `compressed`."""
    block = select(backbone.denoiser, sites["levels"], sites["blocks"])[-1]
    if family_of(backbone.denoiser) != "flux":
        return block
    _, height, width = backbone.latent_shape  # which the transformer does not know
    return replace(block, grid=TokenGrid(height // 2, width // 2))


@torch.inference_mode()
def saliency(
    backbone: Backbone, block: Block, latents: Tensor, images: list[int], t: int, draws: int, seed: int
) -> Tensor:
    """Compute the Laplacian score of every token before self-attention, averaged over `draws` noises: [n, H, W].

    `latents` [n, C, h, w] belong to the image ids `images`; eps of draw k is the classifier's, with k as repetition.
    """
    # Of a transformer, after norm1.
    probed = block.module if family_of(backbone.denoiser) == "unet" else block.self_attention[0]
    maps = []
    for x_0, image in zip(latents, images, strict=True):
        eps = torch.stack([keyed_noise(seed, image, t, tuple(x_0.shape), k) for k in range(draws)])
        total = torch.zeros(block.grid.height, block.grid.width)
        for batch in eps.split(DRAWS_PER_BATCH):
            with _inputs_of(probed) as inputs:
                _predict(backbone, x_0.expand_as(batch), batch, t)
            image_tokens = inputs[-1][:, -block.grid.tokens :]  # the text's come first
            total += _map(laplacian_l1(image_tokens, block.grid), block.grid).sum(0)
        maps.append(total / draws)
    return torch.stack(maps)


@torch.inference_mode()
def merged_tokens(
    backbone: Backbone,
    sites: Sites,
    method: str,
    ratio: float,
    latents: Tensor,
    images: list[int],
    t: int,
    seed: int,
) -> Tensor:
    """Return which tokens of the probed block a method merges away at t, in a compressed forward pass: [n, H, W], bool.

    Raises ValueError for a method that does not merge tokens and for a ratio that it cannot reach.
    """
    grid = probed_block(backbone, sites).grid
    eps = torch.stack([keyed_noise(seed, image, t, tuple(latents.shape[1:])) for image in images])
    with compressed(backbone.denoiser, method, ratio=ratio, task="classification", seed=seed, **sites) as at:
        site, plans = at.sites[-1], []
        look = at.plan_of if isinstance(at, TokenAttachment) else (lambda site: None)
        at.set_rows([RowKey(image, "null", t) for image in images])
        hook = (
            site.block.self_attention[0]
            .get_submodule("to_q")
            .register_forward_pre_hook(lambda *_: plans.append(look(site)))
        )
        try:
            _predict(backbone, latents, eps, t)
        finally:
            hook.remove()
    if not isinstance(plans[0], TokenPlan):
        raise ValueError(f"{method} merges no tokens, so there is nothing to show")
    merged = torch.zeros(len(images), grid.tokens, dtype=torch.bool)
    return _map(merged.scatter(1, plans[0].merged.cpu(), True), grid)


def _predict(backbone: Backbone, x_0: Tensor, eps: Tensor, t: int) -> None:
    """Run a forward pass under the null condition."""
    steps = torch.full((len(x_0),), t)
    null = backbone.to_device(backbone.null_condition())
    conditions = null.expand(len(x_0), *null.shape[1:])
    x_t = backbone.noised(x_0, eps, steps).to(backbone.device, backbone.dtype)
    backbone.predict_noise(x_t, steps.to(backbone.device), conditions)


def _map(values: Tensor, grid: TokenGrid) -> Tensor:
    return values.cpu().unflatten(1, (grid.height, grid.width))


@contextmanager
def _inputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the hidden states that go into a module, one tensor per call."""
    inputs: list[Tensor] = []

    def collect(_: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        inputs.append(args[0] if args else kwargs["hidden_states"])

    hook = module.register_forward_pre_hook(collect, with_kwargs=True)
    try:
        yield inputs
    finally:
        hook.remove()
