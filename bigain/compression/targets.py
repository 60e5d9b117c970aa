"""Where a method can act: the self-attention blocks of a diffusers model, by level or by number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from diffusers import DiTTransformer2DModel, ModelMixin, PixArtTransformer2DModel, UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from torch import nn

from bigain.methods.method import Family
from bigain.tokens import TokenGrid

SUPPORTED = (UNet2DConditionModel, DiTTransformer2DModel, PixArtTransformer2DModel)

# DiT-XL/2's ten blocks, as released (0-based; its own flags skip 0 and 6).
DIT_XL_BLOCKS = (1, 2, 3, 4, 5, 7, 8, 9, 10, 11)


@dataclass(frozen=True)
class Block:
    """One transformer block with self-attention, the module that sees its tokens as a map, and its place."""

    name: str
    module: BasicTransformerBlock
    map_owner: nn.Module  # its input is [B, C, H, W]: H/patch x W/patch tokens
    patch: int
    place: int  # U-Net: level, 0 is the highest resolution; DiT: block number
    grid: TokenGrid  # at the model's own sample size


def family_of(model: nn.Module) -> Family:
    """Raises TypeError for a model that token methods cannot be attached to."""
    if not isinstance(model, SUPPORTED):
        names = ", ".join(kind.__name__ for kind in SUPPORTED)
        raise TypeError(f"{type(model).__name__} is not supported: {names} are")
    return "unet" if isinstance(model, UNet2DConditionModel) else "dit"


def blocks_of(model: ModelMixin) -> list[Block]:
    """Every self-attention block of a U-Net or DiT, in the order of the forward pass."""
    return list(_dit_blocks(model) if family_of(model) == "dit" else _unet_blocks(model))


def select(model: ModelMixin, levels: tuple[int, ...] | None, blocks: tuple[int, ...] | str | None) -> list[Block]:
    """The blocks to compress: of a U-Net those of `levels` (default the highest that has any), of a DiT those numbered
    in `blocks`, or a part by its name (default: DiT-XL/2's ten; of any other depth all but the first and the last).

    Raises ValueError if nothing matches or a number does not exist.
    """
    every = blocks_of(model)
    exist = sorted({block.place for block in every})
    if family_of(model) == "dit":
        if levels is not None:
            raise ValueError("a DiT has one resolution: choose by `blocks`, not by `levels`")
        if isinstance(blocks, str):
            blocks = part_of(blocks, len(every))
        default = DIT_XL_BLOCKS if len(every) == 28 else tuple(range(1, len(every) - 1))
        chosen, kind = default if blocks is None else blocks, "block"
    else:
        if blocks is not None:
            raise ValueError("a U-Net's blocks are chosen by `levels` (0 is the highest resolution), not by `blocks`")
        chosen, kind = exist[:1] if levels is None else levels, "level"
    if not chosen or not set(chosen) <= set(exist):
        raise ValueError(f"no self-attention at {kind} {tuple(chosen)}: this model has it at {kind}s {exist}")
    return [block for block in every if block.place in chosen]


def part_of(name: str, depth: int) -> tuple[int, ...]:
    """A named part of a DiT of 28 blocks, or the same part of another depth: block numbers from 0."""
    first, last = {"first_12": (0, 12), "1_6": (0, 6), "7_12": (6, 12)}[name]
    return tuple(range(round(first * depth / 28), round(last * depth / 28)))


def plan_groups(blocks: list[Block]) -> list[str]:
    """Return, for every selected block, the name of the group that may share one plan: `down_blocks`, `mid_block` or
    `up_blocks` of a U-Net; of a DiT, a run of consecutive blocks."""
    groups: list[str] = []
    for i, block in enumerate(blocks):
        group = block.name.split(".")[0]
        if group == "transformer_blocks":
            follows = i > 0 and blocks[i - 1].place == block.place - 1
            group = groups[-1] if follows else f"from block {block.place}"
        groups.append(group)
    return groups


def _dit_blocks(model: DiTTransformer2DModel | PixArtTransformer2DModel) -> Iterator[Block]:
    patch = model.config.patch_size
    side = model.config.sample_size // patch
    for number, module in enumerate(model.transformer_blocks):
        yield Block(f"transformer_blocks.{number}", module, model.pos_embed, patch, number, TokenGrid(side, side))


def _unet_blocks(model: UNet2DConditionModel) -> Iterator[Block]:
    size = model.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    level = 0
    stages = [(f"down_blocks.{i}", stage) for i, stage in enumerate(model.down_blocks)]
    stages += [("mid_block", model.mid_block)] if model.mid_block is not None else []
    stages += [(f"up_blocks.{i}", stage) for i, stage in enumerate(model.up_blocks)]
    for stage_name, stage in stages:
        for i, owner in enumerate(getattr(stage, "attentions", None) or []):
            for j, module in enumerate(getattr(owner, "transformer_blocks", [])):
                if isinstance(module, BasicTransformerBlock):
                    name = f"{stage_name}.attentions.{i}.transformer_blocks.{j}"
                    yield Block(name, module, owner, 1, level, TokenGrid(height >> level, width >> level))
        level += bool(getattr(stage, "downsamplers", None)) - bool(getattr(stage, "upsamplers", None))
