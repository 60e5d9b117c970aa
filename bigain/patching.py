"""Attach a Method to a diffusers model, say exactly what was compressed, take it off again.

Built on diffusers' own hook registry; no attention and no block is rewritten. Four small hooks work together:
the model's sees the timestep, the map owner's the height and width of the token grid, the block's its tokens before
norm1, and attn1's reduces and restores around the untouched attention (or hands it fewer keys and values).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from diffusers import DiffusionPipeline, ModelMixin
from diffusers.hooks import HookRegistry, ModelHook
from torch import Tensor, nn

from bigain.methods import STRENGTHS, ByTask, Linear, Method, Task, method
from bigain.rng import Key, torch_generator
from bigain.sites import Block, family_of, select
from bigain.tokens import OPERATORS, TokenGrid
from bigain.tokens.downsample import reduced_grid
from bigain.tokens.merge import removed_tokens

logger = logging.getLogger(__name__)

MetricSite = Literal["block_input", "norm1_output"]
HOOK = "bigain"  # the name of our hooks in every registry


@dataclass
class Site:
    """One compressed block: N tokens on a grid, N' left of them as queries, M as keys and values."""

    block: Block
    grid: TokenGrid
    kept: int = 0
    keys: int = 0
    plan: Any = None  # between the block's hook and attn1's

    def __str__(self) -> str:
        return (
            f"{self.block.name}: {self.grid} = {self.grid.tokens} tokens -> {self.kept} (keys and values {self.keys})"
        )


@dataclass
class Attachment:
    """A method on a model. `sites` says what is compressed, and after a forward pass what was."""

    method: Method
    strength: float | int
    options: dict[str, Any]
    metric_site: MetricSite
    seed: int
    sites: list[Site]
    timestep: Tensor | float | None = None
    calls: int = 0
    row_keys: Sequence[tuple[Key, ...]] | None = field(default=None)

    def operator_options(self, site: Site, device: torch.device) -> dict[str, Any]:
        """The options of one call: what depends on the timestep is resolved, what is random is drawn."""
        options = {name: self._at_timestep(value) for name, value in self.options.items()}
        if self.method.operator == "merge_random":
            options["offsets"] = self._offsets(site, options["cell"]).to(device)
        return options

    def _at_timestep(self, value: Any) -> Any:
        if not isinstance(value, Linear):
            return value
        t = self.timestep
        return value.at(t.float() if isinstance(t, Tensor) else t)

    def _offsets(self, site: Site, cell: tuple[int, int]) -> Tensor:
        """Random places in the cells: [rows, D] where a task gave each row its key, else [1, D] shared by the batch."""
        cells = (site.grid.height // cell[0]) * (site.grid.width // cell[1])
        keys = [("call", self.calls)] if self.row_keys is None else self.row_keys
        return torch.stack(
            [
                torch.randint(
                    cell[0] * cell[1],
                    (cells,),
                    generator=torch_generator(self.seed, "destinations", *key, site.block.name),
                )
                for key in keys
            ]
        )

    def predict(self, site: Site) -> None:
        """Fill in N' and M for the site's grid. Raises ValueError if the strength cannot be reached on it."""
        if self.method.acts_on == "tokens":
            site.kept = site.grid.tokens - removed_tokens(self.strength, site.grid, self.options["cell"])
            site.keys = site.kept
        else:
            site.kept, site.keys = site.grid.tokens, reduced_grid(site.grid, self.strength).tokens

    def __str__(self) -> str:
        return f"{self.method.id} {self.strength} on {len(self.sites)} blocks\n" + "\n".join(map(str, self.sites))


class _ModelHook(ModelHook):
    """On the model: sees the timestep and counts the calls."""

    def __init__(self, attachment: Attachment) -> None:
        super().__init__()
        self.attachment = attachment

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple, dict]:
        self.attachment.timestep = kwargs["timestep"] if "timestep" in kwargs else args[1] if len(args) > 1 else None
        self.attachment.calls += 1
        return args, kwargs


class _GridHook(ModelHook):
    """On the last module that sees the tokens as a map: sees height and width, exact for any rectangle."""

    def __init__(self, attachment: Attachment, sites: list[Site]) -> None:
        super().__init__()
        self.attachment, self.sites = attachment, sites

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple, dict]:
        x = args[0] if args else kwargs["hidden_states"]
        for site in self.sites:
            grid = TokenGrid(x.shape[-2] // site.block.patch, x.shape[-1] // site.block.patch)
            if grid != site.grid:
                site.grid = grid
                self.attachment.predict(site)
        return args, kwargs


class _BlockHook(ModelHook):
    """On the block: plans from the tokens before norm1, where ToMe measures similarity."""

    def __init__(self, attachment: Attachment, site: Site) -> None:
        super().__init__()
        self.attachment, self.site = attachment, site

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple, dict]:
        self.site.plan = _plan(self.attachment, self.site, args[0] if args else kwargs["hidden_states"])
        return args, kwargs

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        self.site.plan = None
        return output


class _AttentionHook(ModelHook):
    """On attn1: reduce, run the untouched attention, restore; or give it fewer keys and values."""

    def __init__(self, attachment: Attachment, site: Site) -> None:
        super().__init__()
        self.attachment, self.site = attachment, site

    def new_forward(
        self,
        module: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        if encoder_hidden_states is not None or attention_mask is not None:
            raise ValueError(f"{self.site.block.name}: attn1 is no plain self-attention here (context or mask given)")
        attention, attachment, site = self.fn_ref.original_forward, self.attachment, self.site
        if attachment.method.acts_on == "tokens":
            plan = site.plan or _plan(attachment, site, hidden_states)
            return plan.restore(attention(plan.reduce(hidden_states), **kwargs))
        if getattr(module, "fused_projections", False):
            raise ValueError(f"{site.block.name}: undo fuse_qkv_projections() first; it projects queries with the keys")
        return attention(hidden_states, encoder_hidden_states=_plan(attachment, site, hidden_states), **kwargs)


def _plan(attachment: Attachment, site: Site, x: Tensor) -> Any:
    """Call the method's operator: a TokenPlan, or the reduced keys and values."""
    operator = OPERATORS[attachment.method.operator]
    return operator(x, site.grid, attachment.strength, **attachment.operator_options(site, x.device))


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
) -> Attachment | None:
    """Compress the self-attention tokens of a diffusers U-Net, DiT or pipeline, in place, until `remove`.

    Merging methods take `ratio` (the part of all tokens that is merged away), downsampling ones `factor` (per axis).
    `task` picks the paper's alpha of bigain_td. `levels` (U-Net, default 0: highest resolution) or `blocks` (DiT) say
    where. `metric_site` is where similarity and score are measured: by default a U-Net's block input (before norm1),
    a DiT's norm1 output. Returns the Attachment, or None for "none", which leaves the model untouched.

    Raises ValueError for unknown methods, a strength the method does not take or the grid cannot reach, blocks that do
    not exist and a model that is already compressed; TypeError for a model of another kind.
    """
    chosen = method(method_id)
    denoiser = denoiser_of(model)
    family = family_of(denoiser)
    strength = _strength(chosen, ratio, factor)
    if attached_to(denoiser) is not None:
        raise ValueError(f"{attached_to(denoiser).method.id} is on this model already: remove it first")
    if chosen.acts_on == "nothing":
        return None
    options = {k: v.resolve(family, task) if isinstance(v, ByTask) else v for k, v in chosen.options.items()}
    metric_site = metric_site or ("block_input" if family == "unet" else "norm1_output")
    sites = [Site(block, block.grid) for block in select(denoiser, levels, blocks)]
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


def _register(denoiser: ModelMixin, attachment: Attachment) -> None:
    def put(module: nn.Module, hook: ModelHook) -> None:
        HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, HOOK)

    put(denoiser, _ModelHook(attachment))
    owners: dict[nn.Module, list[Site]] = {}
    for site in attachment.sites:
        owners.setdefault(site.block.map_owner, []).append(site)
        if attachment.method.acts_on == "tokens" and attachment.metric_site == "block_input":
            put(site.block.module, _BlockHook(attachment, site))
        put(site.block.module.attn1, _AttentionHook(attachment, site))
    for owner, sites in owners.items():
        put(owner, _GridHook(attachment, sites))


def attached_to(model: ModelMixin | DiffusionPipeline) -> Attachment | None:
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
        _leave_no_trace(module)


def _leave_no_trace(module: nn.Module) -> None:
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
) -> Iterator[Attachment | None]:
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
    )
    try:
        yield attachment
    finally:
        if attachment is not None:
            remove(model)
