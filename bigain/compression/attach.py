"""Attach a method to a diffusers model, and detach it again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Unpack
from weakref import WeakSet

from diffusers import DiffusionPipeline, FluxTransformer2DModel, ModelMixin
from torch import nn

from bigain.compression import structural
from bigain.compression.attachment import ATTACHING, ATTRIBUTE, HOOK, Attachment, Uncompressed
from bigain.compression.checkpoints import checkpointing
from bigain.compression.denoiser import denoiser_of
from bigain.compression.flux import MergeStreamHook, PositionsHook, RestoreStreamHook, StreamAttentionHook
from bigain.compression.guidance import GuidanceHook
from bigain.compression.hooks import GridHook, TimestepHook, attachment_of
from bigain.compression.instances import show_to_compiler
from bigain.compression.merging import BlockHook, MergeAttentionHook, MergeCrossAttentionHook, MergeFeedForwardHook
from bigain.compression.options import check_options, checked, strength_of
from bigain.compression.reducing import KeysHook, ReduceHook
from bigain.compression.rotary import PlacedKeysHook, ProcessorHook, RotaryProcessor, put_processors_on
from bigain.compression.sites import Site
from bigain.compression.targets import blocks_of, family_of, plan_groups, select, without_block
from bigain.compression.token_attachment import TokenAttachment
from bigain.methods.ids import method_of
from bigain.methods.method import ByTask, Family, Method
from bigain.methods.options import Options
from bigain.methods.places import NAMES
from bigain.methods.schedules import Constant, Schedule, Varying
from bigain.tokens import TokenGrid
from bigain.tokens.downsample import PLACES

logger = logging.getLogger(__name__)

T_SCALES: dict[Family, float] = {"flux": 1000.0}  # factors from a family's timesteps to 0 ... 999; others: 1


def apply(model: nn.Module | DiffusionPipeline, method: str | Method, **options: Unpack[Options]) -> Attachment:
    """Compress a diffusers U-Net, transformer or pipeline, in place, until `remove`. Return the attachment.

    `method` is an id (`bigain_tm`, `bigain_tm~protect-0.1`) or a `Method`. Options, all of which may be left out:
        ratio: fraction of all tokens that a merging method merges away, from 0 to below 1. It may depend on the
            timestep: `bigain.Linear(0.7, 0.3)` goes from 0.7 at t = 999 to 0.3 at t = 0, a function gets t.
        threshold: least similarity at which a method with a threshold merges, from 0 to 1; it may depend on t, too.
        factor: downsample factor of keys and values per axis, for downsampling methods; it may depend on t, too
            (`Linear` is rounded to whole factors).
        timesteps: first and last timestep at which the method acts, such as (900, 200); the model stays as it is at all
            others. Timesteps are those of training, 0 (image) to 999 (noise); a flow model's is 1000 sigma.
        task: "generation" (default) or "classification"; picks the paper's alpha of bigain_td.
        seed: seed of the method's random draws (default 0). Outside of tasks, they are also keyed by the number of the
            forward pass since `apply`: a second call with the same noise draws anew, unless the method is applied anew.
        levels: U-Net levels to compress, 0 being the highest resolution (default: the highest that has attention).
        blocks: blocks of a transformer to compress, from 0, those of FLUX double stream first, or the name of a part
            (default: the released code's ten of DiT-XL/2; at other depths, all but the first and the last).
        metric_site: where similarity and score are measured, "block_input" (before norm1; a U-Net's default) or
            "norm1_output" (a transformer's).
        grid: height and width of FLUX's token grid, where the positions in img_ids do not show it.
        calibration: file of a structural method (dip_go, mosaicdiff), which takes no other option.

    Levels, blocks or timesteps in the id itself (`bigain_tm~levels-1`) override the options. "none" leaves the model
    untouched.

    Raises TypeError for an unknown option or an unsupported model; ValueError for an unknown method or value, a
    strength that the method does not take, that the grid cannot reach or that removes no token though it is not 0 (a
    factor: 1), blocks that do not exist, and a model that already has a method.
    """
    method = method if isinstance(method, Method) else method_of(method)
    denoiser, options = denoiser_of(model), checked(options)
    calibration = check_options(method, options)
    attachment: Attachment
    with ATTACHING:
        present = attached_to(denoiser)
        if present is not None:
            raise ValueError(f"{present.method.id} is already applied to this model: remove it first")
        if calibration is not None:
            attachment = structural.attach(denoiser, method, calibration, HOOK)
        else:
            strength = strength_of(method, options)
            attachment = Uncompressed(method) if strength is None else _attach(denoiser, method, strength, options)
        attachment.attach_to(denoiser)
    logger.info("%s", attachment)
    return attachment


def check(method: str | Method, **options: Unpack[Options]) -> None:
    """Raise what `apply` raises about a method and its options, as far as that needs no model."""
    method, options = method if isinstance(method, Method) else method_of(method), checked(options)
    if check_options(method, options) is None:
        strength_of(method, options)


def _attach(denoiser: ModelMixin, method: Method, strength: Constant | Varying, options: Options) -> TokenAttachment:
    family, task = family_of(denoiser), options.get("task", "generation")
    resolved = {k: v.resolve(family, task) if isinstance(v, ByTask) else v for k, v in method.options.items()}
    metric_site = options.get("metric_site") or ("block_input" if family == "unet" else "norm1_output")
    blocks = select(denoiser, method.levels or options.get("levels"), method.blocks or options.get("blocks"))
    grid = _grid_for(family, options)
    names, groups = [block.name for block in blocks_of(denoiser)], plan_groups(blocks)
    sites = [
        Site(block, grid or block.grid, group, names.index(block.name) / len(names))
        for block, group in zip(blocks, groups, strict=True)
    ]
    _check_layers(family, method, sites)
    _warn_of_layers_without_block(denoiser)
    schedule = Schedule(method, strength, method.timesteps or options.get("timesteps"))
    t_scale = T_SCALES.get(family, 1.0)
    attachment = TokenAttachment(schedule, resolved, metric_site, options.get("seed", 0), sites, t_scale)
    if family == "flux":
        _register_flux(denoiser, attachment, grid)
    else:
        _register(denoiser, attachment)
    return attachment


def _grid_for(family: Family, options: Options) -> TokenGrid | None:
    grid = options.get("grid")
    if grid is not None and family != "flux":
        raise ValueError(f"grid={grid}: {NAMES[family]} shows its token grid itself; only FLUX takes one")
    return None if grid is None else TokenGrid(*grid)


# Of a block: the module and its hook, by the layer's name in an id.
LAYERS = {"ca": ("attn2", MergeCrossAttentionHook), "mlp": ("ff", MergeFeedForwardHook)}


def _check_layers(family: Family, method: Method, sites: list[Site]) -> None:
    is_joint = family in ("mmdit", "flux")
    if method.needs_guidance and family == "flux":
        raise ValueError(f"{method.id} reads the guidance of a batch, but FLUX is guided by an input or in two passes")
    if method.depends_on_image and is_joint:
        raise ValueError(
            f"{method.id} leaves samples different numbers of tokens, which attention shared with the text cannot take"
        )
    if method.attention is not None and is_joint:
        raise ValueError(
            f"{method.id}: attention shared with the text takes no mask, which would hold the groups' sizes"
        )
    if method.depends_on_image and "ca" in method.layers:
        raise ValueError(f"{method.id} leaves samples different numbers of tokens; drop ca")
    for site in sites:
        if "ca" in method.layers and (is_joint or site.block.module.attn2 is None):
            raise ValueError(f"{method.id}: {site.block.name} has no cross-attention to merge around")


_warned_of: WeakSet[ModelMixin] = WeakSet()  # models with layers that no method can compress


def _warn_of_layers_without_block(denoiser: ModelMixin) -> None:
    left_out = without_block(denoiser)
    if left_out and denoiser not in _warned_of:
        _warned_of.add(denoiser)
        logger.warning(
            "%d self-attention layers of this %s are of kinds that no method compresses: %s",
            *(len(left_out), type(denoiser).__name__, ", ".join(left_out)),
        )


def _register(denoiser: ModelMixin, attachment: TokenAttachment) -> None:
    attachment.checkpointing = checkpointing(denoiser)
    attachment.handles += TimestepHook(attachment.begin, denoiser, attachment.end).put_on(denoiser)
    if attachment.method.needs_guidance:
        attachment.handles += GuidanceHook(attachment).put_on(denoiser)
    by_map: dict[nn.Module, list[Site]] = {}
    for site in attachment.sites:
        by_map.setdefault(site.block.map_module, []).append(site)
        _compress(attachment, site)
    for module, sites in by_map.items():
        attachment.handles += GridHook(attachment, sites).put_on(module)


def _register_flux(denoiser: FluxTransformer2DModel, attachment: TokenAttachment, grid: TokenGrid | None) -> None:
    attachment.handles += put_processors_on(attachment, denoiser.pos_embed)
    attachment.checkpointing = checkpointing(denoiser)
    attachment.handles += TimestepHook(attachment.begin, denoiser, attachment.end).put_on(denoiser)
    attachment.handles += PositionsHook(attachment, denoiser, grid).put_on(denoiser)
    for site in attachment.sites:
        attachment.handles += ProcessorHook(attachment, site).put_on(site.block.module.attn)
        if site.block.single_stream and "mlp" in attachment.method.layers:
            _merge_stream(attachment, site)
        else:
            _compress(attachment, site)


def _compress(attachment: TokenAttachment, site: Site) -> None:
    """Put the hooks of a method on a block."""
    block, method = site.block.module, attachment.method
    for attention in site.block.self_attention:
        show_to_compiler(attention)
        if method.acts_on == "keys_values":
            has_positions = isinstance(attention.processor, RotaryProcessor)
            keys = PlacedKeysHook if has_positions and method.operator in PLACES else KeysHook
            reducing = ReduceHook(attachment, site, keys)
            attachment.handles += reducing.put_on(attention)
            reducing.follow(attention)
        else:
            attachment.handles += MergeAttentionHook(attachment, site).put_on(attention)
    if method.acts_on == "tokens":
        attachment.handles += BlockHook(attachment, site).put_on(block)
    for layer in method.layers[1:]:
        name, hook = LAYERS[layer]
        attachment.handles += hook(attachment, site).put_on(block.get_submodule(name))


def _merge_stream(attachment: TokenAttachment, site: Site) -> None:
    """Put the hooks on a single-stream block that run its attention and its MLP on the same merged tokens."""
    block = site.block.module
    show_to_compiler(block.attn)
    for hook, module in (
        (BlockHook, block),
        (MergeStreamHook, block.norm),
        (StreamAttentionHook, block.attn),
        (RestoreStreamHook, block.proj_out),
    ):
        attachment.handles += hook(attachment, site).put_on(module)


def attached_to(model: nn.Module | DiffusionPipeline) -> Attachment | None:
    """Return what `apply` attached to a model, or None.

    A shallow copy shares the hooks of its model, and so its method, whichever of them it was applied to: removing it
    from one removes it from both.
    """
    denoiser = denoiser_of(model)
    named = vars(denoiser).get(ATTRIBUTE)  # a shallow copy keeps that of a removed attachment
    attachments = (*map(attachment_of, denoiser._forward_pre_hooks.values()), named)
    return next((attachment for attachment in attachments if attachment is not None and attachment.is_attached), None)


def remove(model: nn.Module | DiffusionPipeline) -> None:
    """Detach the method: the model computes what it did before, bit for bit. What other packages put on it stays.

    Raises ValueError if no method is attached.
    """
    attachment = attached_to(model)
    if attachment is None:
        raise ValueError("no method is applied to this model")
    attachment.remove()


@contextmanager
def compressed(
    model: nn.Module | DiffusionPipeline, method: str | Method, **options: Unpack[Options]
) -> Iterator[Attachment]:
    """Apply a method for the length of a with block; options and errors are those of `apply`.

    The model is restored at the end of the block, unless the method was removed inside it. A random method draws anew
    at every forward pass in the block, and the same again in another block with the same `seed`.

    >>> with bigain.compressed(pipe, "bigain_tm", ratio=0.5) as attachment:
    ...     image = pipe("a photo of a bag").images[0]
    >>> print(attachment)  # which blocks, and how many tokens each of them kept
    """
    attachment = apply(model, method, **options)
    try:
        yield attachment
    finally:
        attachment.remove()
