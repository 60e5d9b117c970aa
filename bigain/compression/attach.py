"""Attach a Method to a diffusers model, say exactly what was compressed, take it off again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Unpack

from diffusers import DiffusionPipeline, ModelMixin
from diffusers.hooks import HookRegistry, ModelHook
from torch import nn

from bigain.compression import structural
from bigain.compression.attachment import Attachment, Uncompressed
from bigain.compression.hooks import AroundHook, AttentionHook, BlockHook, GridHook, TimestepHook
from bigain.compression.sites import Site
from bigain.compression.state import TokenAttachment
from bigain.compression.targets import family_of, plan_groups, select
from bigain.core.messages import unknown
from bigain.methods.ids import method_of
from bigain.methods.method import STRENGTHS, ByTask, Method
from bigain.methods.options import Options

logger = logging.getLogger(__name__)

HOOK = "bigain"  # the name of our hooks in every registry
ATTRIBUTE = "_bigain_attachment"  # of the denoiser


def denoiser_of(model: ModelMixin | DiffusionPipeline) -> ModelMixin:
    """The U-Net or transformer of a pipeline; a model itself."""
    if isinstance(model, DiffusionPipeline):
        return model.unet if hasattr(model, "unet") else model.transformer
    return model


def apply(model: ModelMixin | DiffusionPipeline, method_id: str, **options: Unpack[Options]) -> Attachment:
    """Compress a diffusers U-Net, DiT or pipeline, in place, until `remove`. Return what is attached.

    Options, all of which may be left out:
        ratio: fraction of all tokens that a merging method merges away, from 0 to below 1.
        factor: downsample factor of keys and values per axis, for downsampling methods.
        task: "generation" (default) or "classification"; picks the paper's alpha of bigain_td.
        seed: of what the method draws at random (default 0).
        levels: U-Net levels to compress, 0 being the highest resolution (default: the highest that has attention).
        blocks: DiT blocks to compress, from 0 (default: the released code's ten of DiT-XL/2; of another depth all but
            the first and the last).
        metric_site: where similarity and score are measured, "block_input" (before norm1; a U-Net's default) or
            "norm1_output" (a DiT's).
        calibration: file of a structural method (dip_go, mosaicdiff), which takes no other option.

    Levels or blocks in the id itself (`bigain_tm~levels-1`) override the options. "none" attaches something that
    leaves the model untouched.

    Raises TypeError for an unknown option or a model of another kind; ValueError for an unknown method, a strength that
    the method does not take or the grid cannot reach, blocks that do not exist, and a model that has a method already.
    """
    for name in options.keys() - Options.__optional_keys__:
        raise TypeError("apply: " + unknown("option", name, sorted(Options.__optional_keys__)))
    method = method_of(method_id)
    denoiser = denoiser_of(model)
    if method.acts_on == "model":
        _check_structural(method, options)
    elif options.get("calibration") is not None:
        raise ValueError(f"{method.id} takes no calibration")
    present = attached_to(denoiser)
    if present is not None:
        raise ValueError(f"{present.method.id} is on this model already: remove it first")
    attachment: Attachment
    if method.acts_on == "model":
        attachment = structural.attach(denoiser, method, options["calibration"], HOOK)
    else:
        strength = _strength(method, options.get("ratio"), options.get("factor"))
        if method.acts_on == "nothing":
            attachment = Uncompressed(method)
        else:
            attachment = _attach_to_tokens(denoiser, method, strength, options)
    setattr(denoiser, ATTRIBUTE, attachment)
    logger.info("%s", attachment)
    return attachment


def _attach_to_tokens(denoiser: ModelMixin, method: Method, strength: float | int, options: Options) -> TokenAttachment:
    family, task = family_of(denoiser), options.get("task", "generation")
    resolved = {k: v.resolve(family, task) if isinstance(v, ByTask) else v for k, v in method.options.items()}
    metric_site = options.get("metric_site") or ("block_input" if family == "unet" else "norm1_output")
    selected = select(denoiser, method.levels or options.get("levels"), method.blocks or options.get("blocks"))
    sites = [Site(block, block.grid, group) for block, group in zip(selected, plan_groups(selected), strict=True)]
    _check_layers(method, sites)
    attachment = TokenAttachment(method, strength, resolved, metric_site, options.get("seed", 0), sites)
    for site in sites:
        attachment.predict(site)
    _register(denoiser, attachment)
    return attachment


def _strength(chosen: Method, ratio: float | None, factor: int | None) -> float | int | None:
    for name, kind, value in (("ratio", "merge_ratio", ratio), ("factor", "downsample_factor", factor)):
        if value is not None and chosen.strength_kind != kind:
            raise ValueError(f"{chosen.id} takes {STRENGTHS[chosen.strength_kind]}, not {name}={value!r}")
    return chosen.check_strength(ratio if factor is None else factor)


def _check_structural(chosen: Method, options: Options) -> None:
    if options.get("calibration") is None:
        raise ValueError(f"{chosen.id} needs calibration=FILE: `bigain calibrate` and the study make one")
    if any(options.get(name) is not None for name in ("ratio", "factor", "levels", "blocks")):
        raise ValueError(f"{chosen.id} takes no ratio, factor, levels or blocks: its calibration says all of it")


LAYERS = {"ca": "attn2", "mlp": "ff"}  # a block's own names of the layers besides attn1


def _check_layers(chosen: Method, sites: list[Site]) -> None:
    if "ca" in chosen.layers and chosen.depends_on_image:
        raise ValueError(f"{chosen.id}: the quantile rule leaves every sample another number of tokens; no ca with it")
    for site in sites:
        if "ca" in chosen.layers and site.block.module.attn2 is None:
            raise ValueError(f"{chosen.id}: {site.block.name} has no cross-attention to merge around")


def _register(denoiser: ModelMixin, attachment: TokenAttachment) -> None:
    def put(module: nn.Module, hook: ModelHook) -> None:
        HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, HOOK)

    put(denoiser, TimestepHook(attachment, denoiser))
    owners: dict[nn.Module, list[Site]] = {}
    for site in attachment.sites:
        owners.setdefault(site.block.map_owner, []).append(site)
        put(site.block.module.attn1, AttentionHook(attachment, site))
        if attachment.method.acts_on == "tokens":
            put(site.block.module, BlockHook(attachment, site))
            for layer in attachment.method.layers[1:]:
                put(getattr(site.block.module, LAYERS[layer]), AroundHook(site))
    for owner, sites in owners.items():
        put(owner, GridHook(attachment, sites))


def attached_to(model: ModelMixin | DiffusionPipeline) -> Attachment | None:
    """Return what `apply` attached to a model, or None."""
    return vars(denoiser_of(model)).get(ATTRIBUTE)


def remove(model: ModelMixin | DiffusionPipeline) -> None:
    """Detach the method: the model computes what it computed before, bit for bit.

    Raises ValueError if no method is attached.
    """
    if attached_to(model) is None:
        raise ValueError("no method is on this model")
    denoiser = denoiser_of(model)
    delattr(denoiser, ATTRIBUTE)
    for module in denoiser.modules():
        if "_diffusers_hook" in vars(module):
            module._diffusers_hook.remove_hook(HOOK, recurse=False)
            leave_no_trace(module)


def leave_no_trace(module: nn.Module) -> None:
    """Drop an empty registry and the instance's `forward` it left, which would shadow a swapped class."""
    registry = module.__dict__.get("_diffusers_hook")
    if registry is None or registry.hooks:
        return
    del module._diffusers_hook
    left = module.__dict__.get("forward")
    if getattr(left, "__func__", None) is type(module).forward and left.__self__ is module:
        del module.forward


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
