"""Find the self-attention blocks of a diffusers model on which a method can act, by level or by number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from diffusers import DiTTransformer2DModel, ModelMixin, PixArtTransformer2DModel, UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from torch import nn

from bigain.methods.method import Family
from bigain.methods.places import chosen
from bigain.tokens import TokenGrid

SUPPORTED = (UNet2DConditionModel, DiTTransformer2DModel, PixArtTransformer2DModel)


@dataclass(frozen=True)
class Block:
    """A transformer block with self-attention, its place in the model, and the module that sees its tokens as a map."""

    name: str
    module: BasicTransformerBlock
    map_module: nn.Module  # its input is [B, C, H, W]: H/patch x W/patch tokens
    patch: int
    place: int  # U-Net: level, 0 is the highest resolution; DiT: block number
    grid: TokenGrid  # at the model's own sample size


def family_of(model: nn.Module) -> Family:
    """Return "unet" or "dit". Raises TypeError for a model that methods cannot be attached to."""
    if not isinstance(model, SUPPORTED):
        names = ", ".join(kind.__name__ for kind in SUPPORTED)
        raise TypeError(f"{type(model).__name__} is not supported: {names} are")
    return "unet" if isinstance(model, UNet2DConditionModel) else "dit"


def blocks_of(model: ModelMixin) -> list[Block]:
    """Return every transformer block with self-attention of a U-Net or DiT, in the order of the forward pass."""
    return list(_dit_blocks(model) if family_of(model) == "dit" else _unet_blocks(model))


def select(model: ModelMixin, levels: tuple[int, ...] | None, blocks: tuple[int, ...] | str | None) -> list[Block]:
    """Return the blocks to compress: those at the places that `bigain.methods.places.chosen` returns, which
    also raises all errors."""
    every = blocks_of(model)
    places = chosen(family_of(model), sorted({block.place for block in every}), levels, blocks)
    return [block for block in every if block.place in places]


def plan_groups(blocks: list[Block]) -> list[str]:
    """Return the group of every block, whose members may share a plan: `down_blocks`, `mid_block` or `up_blocks` of a
    U-Net; of a DiT, a run of consecutive blocks."""
    groups: list[str] = []
    for i, block in enumerate(blocks):
        group = block.name.split(".")[0]
        if group == "transformer_blocks":
            follows = i > 0 and blocks[i - 1].place == block.place - 1
            group = groups[-1] if follows else f"from block {block.place}"
        groups.append(group)
    return groups


def _sample_size(model: ModelMixin) -> Any:
    """Return the side or sides of a model's latents. Raises ValueError if its config does not say."""
    size = model.config.sample_size
    if size is None:
        raise ValueError(
            f"{type(model).__name__}: sample_size of its config is None, so its token grid is unknown; set it to the "
            "side of its latents, as in model.register_to_config(sample_size=64)"
        )
    return size


def _dit_blocks(model: DiTTransformer2DModel | PixArtTransformer2DModel) -> Iterator[Block]:
    patch = model.config.patch_size
    side = _sample_size(model) // patch
    for number, module in enumerate(model.transformer_blocks):
        yield Block(f"transformer_blocks.{number}", module, model.pos_embed, patch, number, TokenGrid(side, side))


def _unet_blocks(model: UNet2DConditionModel) -> Iterator[Block]:
    size = _sample_size(model)
    height, width = (size, size) if isinstance(size, int) else size
    level = 0
    unet_blocks = [(f"down_blocks.{i}", block) for i, block in enumerate(model.down_blocks)]
    unet_blocks += [("mid_block", model.mid_block)] if model.mid_block is not None else []
    unet_blocks += [(f"up_blocks.{i}", block) for i, block in enumerate(model.up_blocks)]
    for prefix, unet_block in unet_blocks:
        for i, transformer in enumerate(getattr(unet_block, "attentions", None) or []):
            for j, module in enumerate(getattr(transformer, "transformer_blocks", [])):
                if isinstance(module, BasicTransformerBlock):
                    name = f"{prefix}.attentions.{i}.transformer_blocks.{j}"
                    yield Block(name, module, transformer, 1, level, TokenGrid(height >> level, width >> level))
        level += bool(getattr(unet_block, "downsamplers", None)) - bool(getattr(unet_block, "upsamplers", None))
