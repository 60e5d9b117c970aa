"""Compute only once what the classes of a noised image share in a U-Net.

Up to the queries of the first cross-attention, no layer sees the class, so all rows of a batch with the same x_t are
equal. This shared prefix runs on the distinct rows, which are repeated where rows begin to differ. Layers treat
the rows of a batch independently, so results change by rounding only. Keys and values of the prompts depend on neither
image nor timestep and are looked up in tables. In a DiT nothing is shared: its first block already sees the class.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from diffusers import ModelMixin, UNet2DConditionModel
from diffusers.hooks import HookRegistry, ModelHook
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.unets.unet_2d_blocks import CrossAttnDownBlock2D, DownBlock2D
from torch import Tensor, nn

from bigain.compression.attachment import Attachment
from bigain.compression.hooks import Args, Hook, Kwargs
from bigain.compression.instances import remove_hook
from bigain.compression.sites import DistinctRows, Site
from bigain.compression.token_attachment import TokenAttachment

HOOK = "bigain_repeats"
LARGEST_TABLE = 2**31  # bytes of all prompts' keys and values; larger ones are computed in every forward pass


class SharedPrefix:
    """The coming batch as the hooks see it; `set_batch` is called before each forward pass."""

    def __init__(self, exists: bool, sites: list[Site]) -> None:
        self.exists = exists
        self.distinct: DistinctRows | None = None
        self.classes: Tensor | None = None
        self._sites = sites  # compressed blocks inside the prefix

    def set_batch(self, classes: Tensor, distinct: DistinctRows | None) -> None:
        """Set the class of every row [B], and which rows differ in x_t; None computes all rows."""
        self.classes, self.distinct = classes, distinct
        for site in self._sites:
            site.distinct_rows = distinct


class PrefixLayer(NamedTuple):
    """A module of the shared prefix. Residual and skip connections carry all rows; between their two ends, modules
    hand on distinct rows only."""

    module: nn.Module
    narrows: bool = True  # its input has all rows: select the distinct ones
    widens: bool = True  # its output is read with all rows: repeat the distinct ones


class PrefixHook(Hook):
    """Runs a module of the shared prefix on distinct rows."""

    def __init__(self, prefix: SharedPrefix, layer: PrefixLayer) -> None:
        self.prefix, self.layer = prefix, layer

    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
        """Select the distinct rows."""
        distinct = self.prefix.distinct
        if distinct is None or not self.layer.narrows:
            return None
        args = tuple(distinct.narrow(x) if isinstance(x, Tensor) else x for x in args)
        return args, {name: distinct.narrow(x) if isinstance(x, Tensor) else x for name, x in kwargs.items()}

    def after(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Tensor) -> Tensor | None:
        """Repeat the distinct rows: after a compression method, whose hooks are there already, restored the tokens."""
        distinct = self.prefix.distinct
        return distinct.widen(output) if distinct is not None and self.layer.widens else None


class PromptTableHook(ModelHook):
    """Replaces a projection of prompts to keys or values (to_k or to_v of attn2) by a look-up in `table` [K, L, C]."""

    def __init__(self, prefix: SharedPrefix, table: Tensor) -> None:
        super().__init__()
        self.prefix, self.table = prefix, table

    def new_forward(self, module: nn.Module, hidden_states: Tensor) -> Tensor:
        return self.table[self.prefix.classes]


@contextmanager
def shared_between_classes(denoiser: ModelMixin, conditions: Tensor, attachment: Attachment) -> Iterator[SharedPrefix]:
    """Compute only once, while the context is open, what the candidates `conditions` [K, ...] share in a denoiser.

    The prefix ends before a method that draws random numbers per class; nothing is shared under methods that change the
    model itself.
    """
    if not isinstance(denoiser, UNet2DConditionModel) or attachment.method.acts_on == "model":
        yield SharedPrefix(exists=False, sites=[])
        return
    site = _compressed_first_block(denoiser, attachment)
    layers = _prefix_layers(denoiser, attachment, compressed=site is not None)
    prefix = SharedPrefix(bool(layers), [] if site is None or _draws_per_class(attachment) else [site])
    tables = {layer: PromptTableHook(prefix, table) for layer, table in _prompt_tables(denoiser, conditions).items()}
    handles = [handle for layer in layers for handle in PrefixHook(prefix, layer).put_on(layer.module)]
    for module, hook in tables.items():
        HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, HOOK)
    try:
        yield prefix
    finally:
        if site is not None:
            site.distinct_rows = None
        for handle in handles:
            handle.remove()
        for module in tables:
            remove_hook(module, HOOK)


def _draws_per_class(attachment: Attachment) -> bool:
    return isinstance(attachment, TokenAttachment) and attachment.is_random and attachment.method.draws_per == "forward"


def _first_block(unet: UNet2DConditionModel) -> BasicTransformerBlock | None:
    """Return the first block with cross-attention; None if the U-Net begins with a block of another kind."""
    for down_block in unet.down_blocks:
        if isinstance(down_block, CrossAttnDownBlock2D):
            block = down_block.attentions[0].transformer_blocks[0]
            plain = isinstance(block, BasicTransformerBlock) and block.norm_type == "layer_norm"
            crossed = plain and block.attn2 is not None and not block.only_cross_attention
            return block if crossed and not unet.config.dual_cross_attention else None
        if not isinstance(down_block, DownBlock2D):
            return None
    return None


def _compressed_first_block(unet: UNet2DConditionModel, attachment: Attachment) -> Site | None:
    """Return the site of the first block with cross-attention, if a method compresses that block."""
    block = _first_block(unet)
    return next((site for site in attachment.sites if site.block.module is block), None)


def _prefix_layers(unet: UNet2DConditionModel, attachment: Attachment, compressed: bool) -> list[PrefixLayer]:
    """List the modules of the shared prefix in order; `compressed`: whether a method compresses the first block."""
    block = _first_block(unet)
    if block is None:
        return []
    layers = [PrefixLayer(unet.conv_in)]
    for down_block in unet.down_blocks:
        if isinstance(down_block, CrossAttnDownBlock2D):
            break
        layers += [PrefixLayer(module) for module in (*down_block.resnets, *(down_block.downsamplers or []))]
    transformer = down_block.attentions[0]
    layers += [PrefixLayer(module) for module in (down_block.resnets[0], transformer.norm, transformer.proj_in)]
    if compressed and _draws_per_class(attachment):
        return layers
    layers += [PrefixLayer(block.norm1, widens=False), PrefixLayer(block.attn1, narrows=False)]
    if not compressed or "ca" not in attachment.method.layers:  # "ca" merges queries between norm2 and attn2
        layers += [PrefixLayer(block.norm2, widens=False), PrefixLayer(block.attn2.to_q, narrows=False)]
    return layers


def _prompt_tables(unet: UNet2DConditionModel, conditions: Tensor) -> dict[nn.Module, Tensor]:
    """Project all prompts to the keys and values of every cross-attention, by projection layer.

    Empty if the tables would be too large, or if the model changes prompts before it projects them.
    """
    blocks = [module for module in unet.modules() if isinstance(module, BasicTransformerBlock)]
    projections = [layer for b in blocks if b.attn2 is not None for layer in (b.attn2.to_k, b.attn2.to_v)]
    elements = conditions.shape[0] * conditions.shape[1] * sum(layer.out_features for layer in projections)
    changed = unet.encoder_hid_proj is not None or any(b.attn2 is not None and b.attn2.norm_cross for b in blocks)
    if changed or elements * conditions.element_size() > LARGEST_TABLE:
        return {}
    with torch.inference_mode():
        return {layer: layer(conditions) for layer in projections}
