"""What the classes of a noised image share in a U-Net: everything before the first cross-attention, and the prompts'
keys and values, which no image and no timestep changes. Exact but for rounding; no attention is rewritten.

A batch holds the same x_t once for every class. Up to the queries of the first cross-attention its rows repeat one
another, so each distinct row is computed once and repeated where rows begin to differ. Of a DiT nothing is shared: its
first block already sees the class.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import ModelMixin, UNet2DConditionModel
from diffusers.hooks import HookRegistry, ModelHook
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.unets.unet_2d_blocks import CrossAttnDownBlock2D, DownBlock2D
from torch import Tensor, nn

from bigain.compression.attach import leave_no_trace
from bigain.compression.attachment import Attachment
from bigain.compression.sites import DistinctRows, Site
from bigain.compression.state import TokenAttachment

HOOK = "bigain_repeats"
LARGEST_TABLE = 2**31  # bytes of all prompts' keys and values; above it they are computed in every pass


class Sharing:
    """What the coming batch's rows are: set before a forward pass, read by the hooks."""

    def __init__(self, sites: list[Site], shares: bool) -> None:
        self.repeats: DistinctRows | None = None
        self.classes: Tensor | None = None
        self.shares, self._sites = shares, sites

    def set_batch(self, classes: Tensor, repeats: DistinctRows | None) -> None:
        """`classes` [B] says every row's condition; `repeats` which rows are the same but for it, if any are."""
        self.classes, self.repeats = classes, repeats
        for site in self._sites:
            site.distinct_rows = repeats


class NarrowHook(ModelHook):
    """On a module of the shared part: runs it on distinct rows. `takes` says whether its inputs come with all rows,
    `gives` whether whoever reads its output needs all rows."""

    def __init__(self, sharing: Sharing, takes: bool, gives: bool) -> None:
        super().__init__()
        self.sharing, self.takes, self.gives = sharing, takes, gives

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        repeats, layer = self.sharing.repeats, self.fn_ref.original_forward
        if repeats is None:
            return layer(*args, **kwargs)
        if self.takes:
            args = tuple(repeats.narrow(x) if isinstance(x, Tensor) else x for x in args)
            kwargs = {name: repeats.narrow(x) if isinstance(x, Tensor) else x for name, x in kwargs.items()}
        y = layer(*args, **kwargs)
        return repeats.widen(y) if self.gives else y


class PromptTableHook(ModelHook):
    """On attn2's to_k or to_v: looks the prompts' rows up instead of projecting them again. `table` [K, L, C]."""

    def __init__(self, sharing: Sharing, table: Tensor) -> None:
        super().__init__()
        self.sharing, self.table = sharing, table

    def new_forward(self, module: nn.Module, hidden_states: Tensor) -> Tensor:
        return self.table[self.sharing.classes]


@contextmanager
def shared_between_classes(denoiser: ModelMixin, conditions: Tensor, at: Attachment) -> Iterator[Sharing]:
    """While it is open, the denoiser computes once what the candidates `conditions` [K, ...] share.

    Of methods that draw random numbers for every class, and of those that change the model itself, only what comes
    before them is shared, or nothing.
    """
    if not isinstance(denoiser, UNet2DConditionModel) or at.method.acts_on == "model":
        yield Sharing([], shares=False)
        return
    layers = _shared_layers(denoiser, at)
    first = _first_block(denoiser)
    sites = [site for site in at.sites if site.block.module is first]
    sharing = Sharing([] if _draws_per_class(at) else sites, shares=bool(layers))
    hooks: dict[nn.Module, ModelHook] = {
        layer: NarrowHook(sharing, takes, gives) for layer, (takes, gives) in layers.items()
    }
    hooks |= {layer: PromptTableHook(sharing, table) for layer, table in _prompt_tables(denoiser, conditions).items()}
    for module, hook in hooks.items():
        HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, HOOK)
    try:
        yield sharing
    finally:
        for site in sites:
            site.distinct_rows = None
        for module in hooks:
            module._diffusers_hook.remove_hook(HOOK, recurse=False)
            leave_no_trace(module)


def _draws_per_class(at: Attachment) -> bool:
    return isinstance(at, TokenAttachment) and at.is_random and at.method.draws_per == "forward"


def _first_block(unet: UNet2DConditionModel) -> BasicTransformerBlock | None:
    """The U-Net's first block with cross-attention; None if it is none that this module knows."""
    for stage in unet.down_blocks:
        if isinstance(stage, CrossAttnDownBlock2D):
            block = stage.attentions[0].transformer_blocks[0]
            plain = isinstance(block, BasicTransformerBlock) and block.norm_type == "layer_norm"
            crossed = plain and block.attn2 is not None and not block.only_cross_attention
            return block if crossed and not unet.config.dual_cross_attention else None
        if not isinstance(stage, DownBlock2D):
            return None
    return None


def _shared_layers(unet: UNet2DConditionModel, at: Attachment) -> dict[nn.Module, tuple[bool, bool]]:
    """The modules of the shared part, in order: does each take all rows, and does it have to give all rows?

    What a residual or skip connection adds up has all rows; in between, distinct rows go from module to module.
    """
    block = _first_block(unet)
    if block is None:
        return {}
    both, takes, gives = (True, True), (True, False), (False, True)
    layers = {unet.conv_in: both}
    for stage in unet.down_blocks:
        if isinstance(stage, CrossAttnDownBlock2D):
            break
        layers |= dict.fromkeys([*stage.resnets, *(stage.downsamplers or [])], both)
    first = stage.attentions[0]
    layers |= {stage.resnets[0]: both, first.norm: both, first.proj_in: both}
    compressed = any(site.block.module is block for site in at.sites)
    if compressed and _draws_per_class(at):
        return layers
    layers |= {block.norm1: takes, block.attn1: gives}
    if not (compressed and "ca" in at.method.layers):  # its queries are merged between norm2 and attn2
        layers |= {block.norm2: takes, block.attn2.to_q: gives}
    return layers


def _prompt_tables(unet: UNet2DConditionModel, conditions: Tensor) -> dict[nn.Module, Tensor]:
    """The keys and values of all prompts for every cross-attention, by the layer that projects them."""
    blocks = [module for module in unet.modules() if isinstance(module, BasicTransformerBlock)]
    layers = [layer for b in blocks if b.attn2 is not None for layer in (b.attn2.to_k, b.attn2.to_v)]
    numbers = conditions.shape[0] * conditions.shape[1] * sum(layer.out_features for layer in layers)
    changed = unet.encoder_hid_proj is not None or any(b.attn2 is not None and b.attn2.norm_cross for b in blocks)
    if changed or numbers * conditions.element_size() > LARGEST_TABLE:
        return {}
    with torch.inference_mode():
        return {layer: layer(conditions) for layer in layers}
