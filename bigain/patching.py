"""Attach a Method to a diffusers model, say exactly what was compressed, take it off again.

Built on diffusers' own hook registry; no attention and no block is rewritten. A few small hooks work together:
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

from bigain.methods import STRENGTHS, ByTask, Linear, Method, Task, method_of
from bigain.rng import seed_for
from bigain.sites import Block, family_of, select, stages_of
from bigain.tokens import OPERATORS, TokenGrid
from bigain.tokens.draws import normals, uniform_places

logger = logging.getLogger(__name__)

MetricSite = Literal["block_input", "norm1_output"]
HOOK = "bigain"  # the name of our hooks in every registry


@dataclass
class Site:
    """One compressed block: N tokens on a grid, N' left of them as queries, M as keys and values.

    `stage` is the run of blocks that may share one plan: a U-Net's way down, middle and way up; consecutive DiT blocks.
    """

    block: Block
    grid: TokenGrid
    stage: str
    kept: int = 0
    keys: int = 0
    plan: Any = None  # from the moment it is made to the end of the block
    salt: int = 0  # of its random draws

    def __post_init__(self) -> None:
        self.salt = seed_for(self.block.name)

    def __str__(self) -> str:
        return (
            f"{self.block.name}: {self.grid} = {self.grid.tokens} tokens -> {self.kept} (keys and values {self.keys})"
        )


@dataclass(frozen=True)
class RowKey:
    """What one row of a batch is: it keys the row's random draws, so they depend on nothing else in the batch."""

    image: int
    condition: int | str
    t: int
    repetition: int = 0


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
    calls: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    row_seeds: Tensor | None = None  # [B]; without them the rows of a batch share what a method draws
    stage_plans: dict[str, Any] = field(default_factory=dict)  # of this forward pass

    @property
    def rests(self) -> bool:
        """Whether this forward pass is left alone: `skip_t0` at t = 0. Raises ValueError for a batch of mixed t."""
        if not self.method.skip_t0:
            return False
        zero = {value == 0 for value in torch.as_tensor(self.timestep).flatten().tolist()}
        if len(zero) > 1:
            raise ValueError(f"{self.method.id}: skip_t0 needs one timestep for the whole batch, or none that is 0")
        return zero == {True}

    def begin(self, timestep: Tensor | float | None) -> None:
        """A forward pass begins: plans of the last one are void."""
        self.timestep = timestep
        self.calls += 1
        self.stage_plans.clear()
        for site in self.sites:
            site.plan = None  # left behind only by a forward pass that failed

    def plan(self, site: Site, x: Tensor) -> Any:
        """The operator's answer for a block's tokens: a plan, or the reduced keys and values."""
        shared = f"{site.stage} {site.grid}"
        if self.method.plan_for == "stage" and shared in self.stage_plans:
            return self.stage_plans[shared]
        operator = OPERATORS[self.method.operator]
        plan = operator(x, site.grid, self.strength, **self.operator_options(site, x.device))
        if self.method.plan_for == "stage":
            self.stage_plans[shared] = plan
        return plan

    def operator_options(self, site: Site, device: torch.device) -> dict[str, Any]:
        """The options of one call: what depends on the timestep is resolved, what is random is drawn."""
        options = {name: self._at_timestep(value) for name, value in self.options.items()}
        seeds = self.row_seeds if self.row_seeds is not None else self.seed ^ self.calls.view(1)
        if self.method.operator == "merge_random":
            height, width = options["cell"]
            cells = (site.grid.height // height) * (site.grid.width // width)
            options["offsets"] = uniform_places(seeds.to(device), site.salt, cells, height * width)
        if self.method.operator == "prune_similar":
            options["noise"] = normals(seeds.to(device), site.salt, site.grid.tokens)
        return options

    def _at_timestep(self, value: Any) -> Any:
        if not isinstance(value, Linear):
            return value
        t = self.timestep
        return value.at(t.float() if isinstance(t, Tensor) else t)

    def set_rows(self, keys: Sequence[RowKey]) -> None:
        """Say what the rows of the coming batches are, so that each draws its own random numbers."""
        shared = self.method.draws == "noise"
        seeds = [
            seed_for(self.seed, "rows", k.image, "any" if shared else k.condition, k.t, k.repetition) for k in keys
        ]
        self.row_seeds = torch.tensor(seeds)

    def predict(self, site: Site) -> None:
        """Fill in N' and M for the site's grid. Raises ValueError if the strength cannot be reached on it."""
        site.kept, site.keys = self.method.tokens_left(self.strength, site.grid.height, site.grid.width)

    def __str__(self) -> str:
        return f"{self.method.id} {self.strength} on {len(self.sites)} blocks\n" + "\n".join(map(str, self.sites))


class _ModelHook(ModelHook):
    """On the model: sees the timestep and counts the calls."""

    def __init__(self, attachment: Attachment) -> None:
        super().__init__()
        self.attachment = attachment

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple, dict]:
        self.attachment.begin(kwargs["timestep"] if "timestep" in kwargs else args[1] if len(args) > 1 else None)
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
    """On the block: plans from the tokens before norm1, where ToMe measures similarity, or leaves it to attn1."""

    def __init__(self, attachment: Attachment, site: Site) -> None:
        super().__init__()
        self.attachment, self.site = attachment, site

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple, dict]:
        if self.attachment.metric_site == "block_input" and not self.attachment.rests:
            self.site.plan = self.attachment.plan(self.site, args[0] if args else kwargs["hidden_states"])
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
        if attachment.rests:
            return attention(hidden_states, **kwargs)
        if attachment.method.acts_on == "tokens":
            if site.plan is None:
                site.plan = attachment.plan(site, hidden_states)
            return site.plan.restore(attention(site.plan.reduce(hidden_states), **kwargs))
        if getattr(module, "fused_projections", False):
            raise ValueError(f"{site.block.name}: undo fuse_qkv_projections() first; it projects queries with the keys")
        return attention(hidden_states, encoder_hidden_states=attachment.plan(site, hidden_states), **kwargs)


class _AroundHook(ModelHook):
    """On attn2 or the feed-forward (Table 6): run it on the tokens that attn1's plan leaves, then restore."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site

    def new_forward(self, module: nn.Module, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        layer, plan = self.fn_ref.original_forward, self.site.plan
        if plan is None:  # skip_t0
            return layer(hidden_states, *args, **kwargs)
        return plan.restore(layer(plan.reduce(hidden_states), *args, **kwargs))


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
    chosen = method_of(method_id)
    denoiser = denoiser_of(model)
    family = family_of(denoiser)
    strength = _strength(chosen, ratio, factor)
    if attached_to(denoiser) is not None:
        raise ValueError(f"{attached_to(denoiser).method.id} is on this model already: remove it first")
    if chosen.acts_on == "nothing":
        return None
    options = {k: v.resolve(family, task) if isinstance(v, ByTask) else v for k, v in chosen.options.items()}
    metric_site = metric_site or ("block_input" if family == "unet" else "norm1_output")
    selected = select(denoiser, levels, blocks)
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


LAYERS = {"ca": "attn2", "mlp": "ff"}  # a block's own names of the layers besides attn1


def _check_layers(chosen: Method, sites: list[Site]) -> None:
    for site in sites:
        if "ca" in chosen.layers and site.block.module.attn2 is None:
            raise ValueError(f"{chosen.id}: {site.block.name} has no cross-attention to merge around")


def _register(denoiser: ModelMixin, attachment: Attachment) -> None:
    def put(module: nn.Module, hook: ModelHook) -> None:
        HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, HOOK)

    put(denoiser, _ModelHook(attachment))
    owners: dict[nn.Module, list[Site]] = {}
    for site in attachment.sites:
        owners.setdefault(site.block.map_owner, []).append(site)
        put(site.block.module.attn1, _AttentionHook(attachment, site))
        if attachment.method.acts_on == "tokens":
            put(site.block.module, _BlockHook(attachment, site))
            for layer in attachment.method.layers[1:]:
                put(getattr(site.block.module, LAYERS[layer]), _AroundHook(site))
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
