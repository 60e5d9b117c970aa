"""Attach a Method to a diffusers model, say exactly what was compressed, take it off again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffusers import DiffusionPipeline, ModelMixin
from diffusers.hooks import HookRegistry, ModelHook
from torch import nn

from bigain.compression import structural
from bigain.compression.hooks import AroundHook, AttentionHook, BlockHook, GridHook, TimestepHook
from bigain.compression.state import Attachment, MetricSite, Site
from bigain.compression.structural import ReusedSteps, StageSubnets
from bigain.compression.targets import family_of, select, stages_of
from bigain.methods.ids import method_of
from bigain.methods.method import STRENGTHS, ByTask, Method, Task

logger = logging.getLogger(__name__)

HOOK = "bigain"  # the name of our hooks in every registry


def denoiser_of(model: ModelMixin | DiffusionPipeline) -> ModelMixin:
    """The U-Net or transformer of a pipeline; a model itself."""
    if isinstance(model, DiffusionPipeline):
        return model.unet if hasattr(model, "unet") else model.transformer
    return model


def apply(
    model: ModelMixin | DiffusionPipeline,
    method_id: str,
    *,
    ratio: float | None = None,
    factor: int | None = None,
    task: Task = "generation",
    seed: int = 0,
    levels: tuple[int, ...] | None = None,
    blocks: tuple[int, ...] | None = None,
    metric_site: MetricSite | None = None,
    calibration: Path | str | None = None,
) -> Attachment | ReusedSteps | StageSubnets | None:
    """Compress the self-attention tokens of a diffusers U-Net, DiT or pipeline, in place, until `remove`.

    Merging methods take `ratio` (the part of all tokens that is merged away), downsampling ones `factor` (per axis).
    `task` picks the paper's alpha of bigain_td. `levels` (U-Net, default 0: highest resolution) or `blocks` (DiT) say
    where. `metric_site` is where similarity and score are measured: by default a U-Net's block input (before norm1),
    a DiT's norm1 output; levels or blocks that the id itself names come before these. Methods that change the model
    itself (dip_go, mosaicdiff) take no strength but the file of a `calibration`, and always act on all of it. Returns
    what is attached, or None for "none", which leaves the model untouched.

    Raises ValueError for unknown methods, a strength the method does not take or the grid cannot reach, blocks that do
    not exist and a model that is already compressed; TypeError for a model of another kind.
    """
    chosen = method_of(method_id)
    denoiser = denoiser_of(model)
    if chosen.acts_on == "model":
        _check_structural(chosen, calibration, ratio, factor, levels, blocks)
    elif calibration is not None:
        raise ValueError(f"{chosen.id} takes no calibration")
    if attached_to(denoiser) is not None:
        raise ValueError(f"{attached_to(denoiser).method.id} is on this model already: remove it first")
    if chosen.acts_on == "model":
        return structural.attach(denoiser, chosen, calibration, HOOK)
    strength = _strength(chosen, ratio, factor)
    if chosen.acts_on == "nothing":
        return None
    family = family_of(denoiser)
    options = {k: v.resolve(family, task) if isinstance(v, ByTask) else v for k, v in chosen.options.items()}
    metric_site = metric_site or ("block_input" if family == "unet" else "norm1_output")
    selected = select(denoiser, chosen.levels or levels, chosen.blocks or blocks)
    sites = [Site(block, block.grid, stage) for block, stage in zip(selected, stages_of(selected), strict=True)]
    _check_layers(chosen, sites)
    attachment = Attachment(chosen, strength, options, metric_site, seed, sites)
    for site in sites:
        attachment.predict(site)
    _register(denoiser, attachment)
    logger.info("%s", attachment)
    return attachment


def _strength(chosen: Method, ratio: float | None, factor: int | None) -> float | int | None:
    for name, kind, value in (("ratio", "merge_ratio", ratio), ("factor", "downsample_factor", factor)):
        if value is not None and chosen.strength_kind != kind:
            raise ValueError(f"{chosen.id} takes {STRENGTHS[chosen.strength_kind]}, not {name}={value!r}")
    return chosen.check_strength(ratio if factor is None else factor)


def _check_structural(chosen: Method, calibration: Path | str | None, *others: object) -> None:
    if calibration is None:
        raise ValueError(f"{chosen.id} needs calibration=FILE: `bigain calibrate` and the study make one")
    if any(other is not None for other in others):
        raise ValueError(f"{chosen.id} takes no ratio, factor, levels or blocks: its calibration says all of it")


LAYERS = {"ca": "attn2", "mlp": "ff"}  # a block's own names of the layers besides attn1


def _check_layers(chosen: Method, sites: list[Site]) -> None:
    if "ca" in chosen.layers and chosen.depends_on_image:
        raise ValueError(f"{chosen.id}: the quantile rule leaves every sample another number of tokens; no ca with it")
    for site in sites:
        if "ca" in chosen.layers and site.block.module.attn2 is None:
            raise ValueError(f"{chosen.id}: {site.block.name} has no cross-attention to merge around")


def _register(denoiser: ModelMixin, attachment: Attachment) -> None:
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


def attached_to(model: ModelMixin | DiffusionPipeline) -> Attachment | ReusedSteps | StageSubnets | None:
    """What is on a model now."""
    registry = getattr(denoiser_of(model), "_diffusers_hook", None)
    hook = registry.get_hook(HOOK) if registry else None
    return hook.attachment if hook else None


def remove(model: ModelMixin | DiffusionPipeline) -> None:
    """Take the method off again: the model computes what it computed before, bit for bit.

    Raises ValueError if nothing is on it.
    """
    if attached_to(model) is None:
        raise ValueError("no method is on this model")
    denoiser = denoiser_of(model)
    denoiser._diffusers_hook.remove_hook(HOOK, recurse=True)
    for module in denoiser.modules():
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
    model: ModelMixin | DiffusionPipeline,
    method_id: str,
    *,
    ratio: float | None = None,
    factor: int | None = None,
    task: Task = "generation",
    seed: int = 0,
    levels: tuple[int, ...] | None = None,
    blocks: tuple[int, ...] | None = None,
    metric_site: MetricSite | None = None,
    calibration: Path | str | None = None,
) -> Iterator[Attachment | ReusedSteps | StageSubnets | None]:
    """`apply` for the length of a with block; arguments and errors are those of `apply`.

    >>> with bigain.compressed(pipe, "bigain_tm", ratio=0.5):
    ...     image = pipe("a photo of a bag").images[0]
    """
    attachment = apply(
        model,
        method_id,
        ratio=ratio,
        factor=factor,
        task=task,
        seed=seed,
        levels=levels,
        blocks=blocks,
        metric_site=metric_site,
        calibration=calibration,
    )
    try:
        yield attachment
    finally:
        if attachment is not None:
            remove(model)
