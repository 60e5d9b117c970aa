"""Find the self-attention blocks of a diffusers model on which a method can act, by level or by number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from diffusers import (
    DiTTransformer2DModel,
    FluxTransformer2DModel,
    ModelMixin,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from torch import nn

from bigain.methods.method import Family
from bigain.methods.places import chosen
from bigain.tokens import TokenGrid

FAMILIES: dict[type[ModelMixin], Family] = {
    UNet2DConditionModel: "unet",
    DiTTransformer2DModel: "dit",
    PixArtTransformer2DModel: "dit",
    SD3Transformer2DModel: "mmdit",
    FluxTransformer2DModel: "flux",
}
FLUX_GRID = TokenGrid(64, 64)  # of FluxPipeline's default of 1,024 pixels, until a forward pass shows another


@dataclass(frozen=True)
class Block:
    """A transformer block with self-attention, its place in the model, and the module that sees its tokens as a map.

    `attentions` are the names of its layers in which image tokens attend to one another: alone (attn1, and attn2 in
    SD3.5-medium's dual blocks) or jointly with the text's (attn). In a `single_stream` block the text's tokens come
    before those of the image in every layer.
    """

    name: str
    module: Any  # of diffusers' class for the family
    map_module: nn.Module  # its input is [B, C, H, W]: H/patch x W/patch tokens; in FLUX the model, which has positions
    patch: int
    place: int  # U-Net: level, 0 is the highest resolution; transformer: block number
    grid: TokenGrid  # at the model's own sample size
    attentions: tuple[str, ...] = ("attn1",)
    single_stream: bool = False

    @property
    def self_attention(self) -> list[nn.Module]:
        """The layers of `attentions`."""
        return [self.module.get_submodule(name) for name in self.attentions]


def family_of(model: nn.Module) -> Family:
    """Return a model's family. Raises TypeError for a model that methods cannot be attached to."""
    for kind, family in FAMILIES.items():
        if isinstance(model, kind):
            return family
    raise TypeError(f"{type(model).__name__} is not supported: {', '.join(kind.__name__ for kind in FAMILIES)} are")


def is_supported(model: nn.Module) -> bool:
    """Return whether methods can be attached to a model."""
    return isinstance(model, tuple(FAMILIES))


def blocks_of(model: ModelMixin) -> list[Block]:
    """Return every transformer block with self-attention of a model, in the order of the forward pass."""
    listed = {"unet": _unet_blocks, "dit": _dit_blocks, "mmdit": _mmdit_blocks, "flux": _flux_blocks}
    return list(listed[family_of(model)](model))


def select(model: ModelMixin, levels: tuple[int, ...] | None, blocks: tuple[int, ...] | str | None) -> list[Block]:
    """Return the blocks to compress: those at the places that `bigain.methods.places.chosen` returns, which
    also raises all errors."""
    every = blocks_of(model)
    if not every:
        raise ValueError(
            f"{type(model).__name__} has no transformer block that methods can compress: {_elsewhere(model)}"
        )
    places = chosen(family_of(model), sorted({block.place for block in every}), levels, blocks, _kinds(model, every))
    return [block for block in every if block.place in places]


def _elsewhere(model: ModelMixin) -> str:
    """Return where the self-attention of a model without blocks is, as the end of a message."""
    layers = without_block(model)
    if not layers:
        return "it has no self-attention"
    holders = sorted({_holder(model, layer) for layer in layers})
    return (
        f"its {len(layers)} self-attention layers, such as {layers[0]}, are in {' and '.join(holders)}, where methods "
        "do not act"
    )


def _holder(model: ModelMixin, layer: str) -> str:
    """Return the class of the module that holds a layer of a U-Net's block: usually a transformer, sometimes the block
    itself."""
    parts = layer.split(".")
    parents = [model.get_submodule(".".join(parts[:depth])) for depth in range(1, len(parts))]
    inside = [type(parent).__name__ for parent in parents if not isinstance(parent, nn.ModuleList)]
    return inside[min(1, len(inside) - 1)]


def without_block(model: ModelMixin) -> list[str]:
    """Return the names of the layers of a U-Net in which image tokens attend to one another, but which are not the
    self-attention of a block of `blocks_of`: no method can compress them.

    They are in SimpleCrossAttnDownBlock2D, AttnDownBlock2D, DualTransformer2DModel, DreamLite's transformers, and
    GLIGEN's fusers.
    """
    if not isinstance(model, UNet2DConditionModel):
        return []
    in_blocks = {f"{block.name}.{attention}" for block in blocks_of(model) for attention in block.attentions}
    return [
        name
        for name, module in model.named_modules()
        if name.startswith(("down_blocks.", "mid_block.", "up_blocks."))
        and name not in in_blocks
        and isinstance(module, Attention)
        and _reads_image(module)
    ]


def _reads_image(attention: Attention) -> bool:
    """Return whether keys and values come from the image, alone or after the prompt's (`added_kv_proj_dim`)."""
    return not attention.only_cross_attention and (
        not attention.is_cross_attention or attention.added_kv_proj_dim is not None
    )


def _kinds(model: ModelMixin, blocks: list[Block]) -> dict[str, tuple[int, ...]]:
    """Return the places of a model's blocks by kind, as ids name them."""
    if isinstance(model, FluxTransformer2DModel):
        doubles, singles = model.config.num_layers, model.config.num_single_layers
        return {"double": tuple(range(doubles)), "single": tuple(range(doubles, doubles + singles))}
    dual = tuple(block.place for block in blocks if len(block.attentions) == 2)
    return {"dual": dual} if dual else {}


def plan_groups(blocks: list[Block]) -> list[str]:
    """Return the group of every block, whose members may share a plan: `down_blocks`, `mid_block` or `up_blocks` of a
    U-Net; of a transformer, a run of consecutive blocks of one kind."""
    groups: list[str] = []
    for i, block in enumerate(blocks):
        group = block.name.split(".")[0]
        if group.endswith("transformer_blocks"):
            follows = i > 0 and blocks[i - 1].place == block.place - 1 and blocks[i - 1].name.startswith(group)
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


def _mmdit_blocks(model: SD3Transformer2DModel) -> Iterator[Block]:
    patch = model.config.patch_size
    side = _sample_size(model) // patch
    for number, module in enumerate(model.transformer_blocks):
        attentions = ("attn", "attn2") if module.attn2 is not None else ("attn",)
        name, grid = f"transformer_blocks.{number}", TokenGrid(side, side)
        yield Block(name, module, model.pos_embed, patch, number, grid, attentions)


def _flux_blocks(model: FluxTransformer2DModel) -> Iterator[Block]:
    doubles, singles = list(model.transformer_blocks), list(model.single_transformer_blocks)
    for number, module in enumerate(doubles):
        yield Block(f"transformer_blocks.{number}", module, model, 1, number, FLUX_GRID, ("attn",))
    for number, module in enumerate(singles):
        name, place = f"single_transformer_blocks.{number}", len(doubles) + number
        yield Block(name, module, model, 1, place, FLUX_GRID, ("attn",), single_stream=True)


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
                # Elsewhere attn1 attends to the prompt, as in most blocks of the Stable Diffusion upscaler.
                if isinstance(module, BasicTransformerBlock) and not module.only_cross_attention:
                    name = f"{prefix}.attentions.{i}.transformer_blocks.{j}"
                    yield Block(name, module, transformer, 1, level, TokenGrid(height >> level, width >> level))
        level += bool(getattr(unet_block, "downsamplers", None)) - bool(getattr(unet_block, "upsamplers", None))
