"""Attach a method to a diffusers model, and detach it again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Unpack

from diffusers import DiffusionPipeline, ModelMixin
from diffusers.hooks import HookRegistry, ModelHook
from torch import nn

from bigain.compression import structural
from bigain.compression.attachment import Attachment, Uncompressed
from bigain.compression.hooks import AroundHook, AttentionHook, BlockHook, GridHook, TimestepHook, remove_hook
from bigain.compression.sites import Site
from bigain.compression.targets import family_of, plan_groups, select
from bigain.compression.token_attachment import TokenAttachment
from bigain.core.messages import unknown
from bigain.methods.ids import method_of
from bigain.methods.method import STRENGTHS, ByTask, Method
from bigain.methods.options import Options

logger = logging.getLogger(__name__)

HOOK = "bigain"  # the name of our hooks in every registry
ATTRIBUTE = "_bigain_attachment"  # of the denoiser


def denoiser_of(model: ModelMixin | DiffusionPipeline) -> ModelMixin:
    """Return the U-Net or transformer of a pipeline; a model is its own denoiser."""
    if isinstance(model, DiffusionPipeline):
        return model.unet if hasattr(model, "unet") else model.transformer
    return model


def apply(model: ModelMixin | DiffusionPipeline, method_id: str, **options: Unpack[Options]) -> Attachment:
    """Compress a diffusers U-Net, DiT or pipeline, in place, until `remove`. Return what is attached.

    Options, all of which may be left out:
        ratio: fraction of all tokens that a merging method merges away, from 0 to below 1.
        factor: downsample factor of keys and values per axis, for downsampling methods.
        task: "generation" (default) or "classification"; picks the paper's alpha of bigain_td.
        seed: seed of the method's random draws (default 0).
        levels: U-Net levels to compress, 0 being the highest resolution (default: the highest that has attention).
        blocks: DiT blocks to compress, from 0 (default: the released code's ten of DiT-XL/2; of another depth all but
            the first and the last).
        metric_site: where similarity and score are measured, "block_input" (before norm1; a U-Net's default) or
            "norm1_output" (a DiT's).
        calibration: file of a structural method (dip_go, mosaicdiff), which takes no other option.

    Levels or blocks in the id itself (`bigain_tm~levels-1`) override the options. "none" leaves the model
    untouched.

    Raises TypeError for an unknown option or a model of another kind; ValueError for an unknown method, a strength that
    the method does not take or the grid cannot reach, blocks that do not exist, and a model that already has a method.
    """
    for name in options:
        if name not in Options.__optional_keys__:
            raise TypeError("apply: " + unknown("option", name, sorted(Options.__optional_keys__)))
    method, denoiser = method_of(method_id), denoiser_of(model)
    calibration = _check_options(method, options)
    present = attached_to(denoiser)
    if present is not None:
        raise ValueError(f"{present.method.id} is already applied to this model: remove it first")
    attachment: Attachment
    if calibration is not None:
        attachment = structural.attach(denoiser, method, calibration, HOOK)
    else:
        strength = method.check_strength(options.get("ratio") if options.get("factor") is None else options["factor"])
        attachment = Uncompressed(method) if strength is None else _attach(denoiser, method, strength, options)
    setattr(denoiser, ATTRIBUTE, attachment)
    logger.info("%s", attachment)
    return attachment


def _check_options(method: Method, options: Options) -> Path | str | None:
    """Return the calibration of a structural method. Raises ValueError for options that the method does not take."""
    calibration = options.get("calibration")
    if method.acts_on == "model":
        if calibration is None:
            raise ValueError(f"{method.id} needs calibration=FILE: `bigain calibrate` and the study make one")
        if any(options.get(name) is not None for name in ("ratio", "factor", "levels", "blocks")):
            raise ValueError(f"{method.id} takes no ratio, factor, levels or blocks: its calibration says all of it")
        return calibration
    if calibration is not None:
        raise ValueError(f"{method.id} takes no calibration")
    strengths = (("ratio", "merge_ratio", options.get("ratio")), ("factor", "downsample_factor", options.get("factor")))
    for name, kind, strength in strengths:
        if strength is not None and method.strength_kind != kind:
            raise ValueError(f"{method.id} takes {STRENGTHS[method.strength_kind]}, not {name}={strength!r}")
    return None


def _attach(denoiser: ModelMixin, method: Method, strength: float | int, options: Options) -> TokenAttachment:
    family, task = family_of(denoiser), options.get("task", "generation")
    resolved = {k: v.resolve(family, task) if isinstance(v, ByTask) else v for k, v in method.options.items()}
    metric_site = options.get("metric_site") or ("block_input" if family == "unet" else "norm1_output")
    blocks = select(denoiser, method.levels or options.get("levels"), method.blocks or options.get("blocks"))
    sites = [Site(block, block.grid, group) for block, group in zip(blocks, plan_groups(blocks), strict=True)]
    _check_layers(method, sites)
    attachment = TokenAttachment(method, strength, resolved, metric_site, options.get("seed", 0), sites)
    _register(denoiser, attachment)
    return attachment


MODULES = {"ca": "attn2", "mlp": "ff"}  # of a block, by the layer's name in an id


def _check_layers(method: Method, sites: list[Site]) -> None:
    if "ca" in method.layers and method.depends_on_image:
        raise ValueError(f"{method.id}: the quantile rule leaves samples different numbers of tokens; drop ca")
    for site in sites:
        if "ca" in method.layers and site.block.module.attn2 is None:
            raise ValueError(f"{method.id}: {site.block.name} has no cross-attention to merge around")


def _register(denoiser: ModelMixin, attachment: TokenAttachment) -> None:
    def put(module: nn.Module, hook: ModelHook) -> None:
        HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, HOOK)

    put(denoiser, TimestepHook(attachment.begin, denoiser, attachment.state.end))
    by_map: dict[nn.Module, list[Site]] = {}
    for site in attachment.sites:
        by_map.setdefault(site.block.map_module, []).append(site)
        put(site.block.module.attn1, AttentionHook(attachment, site))
        if attachment.method.acts_on == "tokens":
            put(site.block.module, BlockHook(attachment, site))
            for layer in attachment.method.layers[1:]:
                put(getattr(site.block.module, MODULES[layer]), AroundHook(site))
    for module, sites in by_map.items():
        put(module, GridHook(sites))


def attached_to(model: ModelMixin | DiffusionPipeline) -> Attachment | None:
    """Return what `apply` attached to a model, or None."""
    return vars(denoiser_of(model)).get(ATTRIBUTE)


def remove(model: ModelMixin | DiffusionPipeline) -> None:
    """Detach the method: the model computes what it computed before, bit for bit.

    Raises ValueError if no method is attached.
    """
    if attached_to(model) is None:
        raise ValueError("no method is applied to this model")
    denoiser = denoiser_of(model)
    delattr(denoiser, ATTRIBUTE)
    for module in denoiser.modules():
        remove_hook(module, HOOK)


@contextmanager
def compressed(
    model: ModelMixin | DiffusionPipeline, method_id: str, **options: Unpack[Options]
) -> Iterator[Attachment]:
    """Apply a method for the length of a with block; options and errors are those of `apply`.

    >>> with bigain.compressed(pipe, "bigain_tm", ratio=0.5) as attachment:
    ...     image = pipe("a photo of a bag").images[0]
    >>> print(attachment)  # which blocks, and how many tokens each of them kept
    """
    attachment = apply(model, method_id, **options)
    try:
        yield attachment
    finally:
        remove(model)
