"""A token method attached to a model: its strength, options and sites, and the operator call at each of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigain.compression import capture
from bigain.compression.attachment import Attachment, Handle, RowKey
from bigain.compression.checkpoints import keep_passes
from bigain.compression.results import check_plan, holds_weights
from bigain.compression.sites import Site
from bigain.compression.state import ForwardPass, ForwardState
from bigain.core.rng import seed_for
from bigain.methods.method import Draw, Given, Linear, Method
from bigain.methods.options import MetricSite
from bigain.methods.schedules import Constant, Schedule, Varying
from bigain.tokens import Plan, RaggedPlan, TokenGrid
from bigain.tokens.draws import bits, normals, uniform_places
from bigain.tokens.outside import operator_of

logger = logging.getLogger(__name__)


@dataclass
class TokenAttachment(Attachment):
    """A token method attached to a model. `sites` are the compressed blocks; their grids are those of the last pass."""

    schedule: Schedule
    options: dict[str, Any]
    metric_site: MetricSite
    seed: int
    sites: list[Site]
    t_scale: float = 1.0  # factor from the model's timesteps to 0 ... 999
    method: Method = field(init=False)
    constant: float | int | None = field(init=False)  # the strength at all timesteps; None if it depends on them
    operator: Callable[..., Any] = field(init=False)
    call_seed: int = field(init=False)
    state: ForwardState = field(default_factory=ForwardState)
    planning: AbstractContextManager[Any] = field(default_factory=nullcontext)  # around the operator: a FLOP counter
    passes: tuple[int, int] = (0, 0)  # if the strength depends on t: passes in which the method acted, and all
    handles: list[Handle] = field(default_factory=list)  # of all hooks
    given_guidance: Tensor | None = None  # |eps_c - eps_0| [B, H, W] from `give_guidance`
    checkpointing: list[nn.Module] = field(default_factory=list)  # modules of the model that can checkpoint
    reduced: set[tuple[TokenGrid, ...]] = field(default_factory=set)  # grids of all sites, of which some are reduced

    def __post_init__(self) -> None:
        """Raise ValueError if the strength cannot be reached on the grid of a site, or reduces none of them."""
        self.method = self.schedule.method
        self.constant = None if self.schedule.reads_timestep else self.schedule.at(0)
        self.operator = operator_of(self.method.operator)
        self.call_seed = seed_for(self.seed, "calls")  # hashed, so that neighbouring seeds share no draws
        for site in self.sites:
            site.tokens_left = self.schedule.tokens_left
            site.tokens_left(site.grid.height, site.grid.width)
        self._check_effect()

    @property
    def strength(self) -> Constant | Varying:
        """The strength as `apply` got it."""
        return self.schedule.strength

    def mode(self, t: float) -> float | int | None:
        """Return the strength at a timestep; None where the method does not act."""
        return self.schedule.at(t)

    @property
    def is_random(self) -> bool:
        """Return whether the method draws random numbers."""
        return any(isinstance(value, Draw) for value in self.options.values())

    def set_rows(self, keys: Sequence[RowKey], seeds: Tensor | None = None) -> None:
        """Tell the method which rows the next batches hold, so that each row draws its own random numbers."""
        if self.is_random:
            self.state.row_seeds = torch.tensor(self.row_seeds(keys)) if seeds is None else seeds

    def row_seeds(self, keys: Sequence[RowKey]) -> list[int]:
        """Return the seed of each row's random draws, which rows of one noised image may share; nothing if the method
        draws none."""
        if not self.is_random:
            return []
        paired = self.method.draws_per == "noised_image"
        return [seed_for(self.seed, "rows", k.image, "any" if paired else k.condition, k.t, 0) for k in keys]

    def give_guidance(self, difference: Tensor) -> None:
        """Set eps_c - eps_0 [B, C, H, W] of the previous step for all rows of the coming passes, until it is set again.

        Samplers whose guidance does not show in the model's batches call this at every step. Raises ValueError for a
        method that reads none.
        """
        if not self.method.needs_guidance:
            raise ValueError(f"{self.method.id} does not read the guidance of the step before")
        self.given_guidance = difference.detach().float().abs().mean(dim=1)

    def report(self) -> list[dict[str, Any]]:
        """Return every site: its block, grid and tokens, and how many of them are queries (kept) and keys."""
        return [
            {
                "block": site.block.name,
                "grid": str(site.grid),
                "tokens": site.grid.tokens,
                "kept": site.kept,
                "keys": site.keys,
            }
            for site in self.sites
        ]

    def visits(self) -> list[tuple[float, float]]:
        """Return timesteps that stand for t = 0 to 999; a single one if all cost the same."""
        return self.schedule.visits()

    def remove(self) -> None:
        """Detach the method, and warn if it acted at none of the timesteps at which the model ran."""
        acted, passes = self.passes
        if passes and not acted:
            logger.warning(
                "%s %s: nothing was compressed, since no timestep of the %d forward passes lay within its window",
                *(self.method.id, self.schedule, passes),
            )
            self.passes = 0, 0
        super().remove()

    def __str__(self) -> str:
        lines = [f"{self.method.id} {self.schedule} on {len(self.sites)} blocks", *map(str, self.sites)]
        return "\n".join(lines)

    # -- called by the hooks, in the order of a forward pass -----------------------------------------------------------

    def begin(self, timestep: Tensor | float | None) -> None:
        """Begin a forward pass.

        Raises ValueError if the method acts differently at the batch's timesteps, for what a recorded graph cannot
        hold, and where a checkpoint reruns the whole model with random draws that no task has keyed.
        """
        capture.check(self.method, timestep, self.constant is None)
        forward_pass = self.state.begin(timestep)
        forward_pass.strength = self._strength_at(timestep)
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return
        keep_passes(self.checkpointing, self)
        forward_pass.reruns_blocks = any(module.gradient_checkpointing for module in self.checkpointing)
        if self.is_random and forward_pass.row_seeds is None and torch._C._current_graph_task_id() != -1:
            raise ValueError(
                f"{self.method.id}: a checkpoint runs the whole model again, which would draw other random numbers: "
                "use enable_gradient_checkpointing()"
            )

    def end(self, whole: bool) -> None:
        """End a forward pass. Raises NothingReducedError if it ran as a `whole`, and the strength reduces no grid."""
        self.state.end()
        if whole and not torch.compiler.is_compiling():
            self._check_effect()

    def _check_effect(self) -> None:
        grids = tuple(site.grid for site in self.sites)
        if grids not in self.reduced:
            self.schedule.check_effect([(grid.height, grid.width) for grid in grids])
            self.reduced.add(grids)

    @property
    def forward_pass(self) -> ForwardPass:
        """The forward pass that runs. Raises ValueError if the model has not begun any."""
        forward_pass = self.state.current
        if forward_pass is None:
            raise ValueError(
                f"{self.method.id}: a block runs, but no forward pass of its model has begun since the method was "
                "attached, so timestep and plans are unknown: call the model itself, not its `forward` or a part of it"
                ", and attach no method while another thread runs it"
            )
        return forward_pass

    def plan_of(self, site: Site) -> Plan | None:
        """Return the plan of a site in the forward pass that runs, if it has any yet."""
        return self.forward_pass.plans.get(site.block.name)

    def _strength_at(self, timestep: Tensor | float | None) -> float | int | None:
        """Return the strength of a forward pass; None if the method does not act at its timestep.

        Raises ValueError if the strength differs between the rows of the batch.
        """
        if self.constant is not None:
            return self.constant
        modes = {t * self.t_scale: self.mode(t * self.t_scale) for t in _values(timestep)}
        if len(set(modes.values())) > 1:
            shown = ", ".join(f"t = {t:g}: {'none' if mode is None else f'{mode:g}'}" for t, mode in modes.items())
            raise ValueError(
                f"{self.method.id} {self.schedule} needs batches in which its strength is the same for all rows, but "
                f"it differs ({shown}): use one timestep for the whole batch"
            )
        strength = next(iter(modes.values()))
        if not torch.compiler.is_compiling():
            acted, passes = self.passes
            self.passes = acted + (strength is not None), passes + 1
        return strength

    def plan(self, site: Site, x: Tensor) -> Plan:
        """Return the plan for a block's tokens x [B, N, C], shared as `plan_for` says; for the distinct rows only,
        where rows repeat one another. Raises as `call_operator` does."""
        shared, rows, grid = self.forward_pass.shared_plans, site.distinct_rows, self._grid(site)
        group = site.plan_group if self.method.plan_for == "stage" else ""
        key = (group, grid.height, grid.width)  # plain data, which torch.compile can look up
        if self.method.plan_for != "block" and key in shared:
            return shared[key]
        plan = self._planned(site, x)
        if isinstance(plan, RaggedPlan):
            site.observe(plan.tokens_left)
        if self.method.plan_for != "block":
            shared[key] = plan if rows is None else plan.of_rows(rows.inverse)
        return plan

    def _planned(self, site: Site, x: Tensor) -> Plan:
        """Return a new plan.

        Raises ValueError if the operator returns something else, and if checkpoints would look up a plan with weights.
        Indices have no gradient, and a checkpoint that looks them up must save as many tensors; so gradients are
        recorded only for weights, in a second call.
        """
        with torch.no_grad():
            plan: Plan = self.call_operator(site, x)
        check_plan(self.method, plan)
        if not holds_weights(plan):
            return plan
        if self.forward_pass.reruns_blocks and self.method.plan_for != "block":
            raise ValueError(
                f"{self.method.id}: blocks share a plan with weights, whose gradients cannot pass from one gradient "
                "checkpoint to another: call disable_gradient_checkpointing(), or plan for every block"
            )
        if torch.is_grad_enabled() and x.requires_grad:
            plan = self.call_operator(site, x)
        return plan

    def _grid(self, site: Site) -> TokenGrid:
        return self.forward_pass.grids[site.block.name]

    def call_operator(self, site: Site, x: Tensor, operator: Callable[..., Any] | None = None) -> Any:
        """Return the operator's result for a block's tokens x [B, N, C]: a plan, or the reduced keys and values; or
        that of another `operator` of the same arguments.

        Raises ValueError for tokens on the CPU that are not finite. This check would stall a GPU and break a compiled
        graph; there, the check of the task's results has to catch them.
        """
        if x.device.type == "cpu" and not torch.compiler.is_compiling() and not all_finite(x):
            raise ValueError(f"{site.block.name}: its tokens are not all finite; check the model's inputs")
        if site.distinct_rows is not None:
            x = site.distinct_rows.narrow_if_whole(x)
        grid, strength = self._grid(site), self.forward_pass.strength
        assert strength is not None, "hooks leave blocks alone where the method does not act"
        strength = self.method.strength_on(strength, grid.height, grid.width)
        options = self.operator_options(site, x.device)
        with self.planning, _in_full_precision(x.device):
            return (operator or self.operator)(x, grid, strength, **options)

    def operator_options(self, site: Site, device: torch.device) -> dict[str, Any]:
        """Return the options of one operator call, with timesteps resolved and random numbers drawn."""
        return {name: self._resolved(value, site, device) for name, value in self.options.items()}

    def _resolved(self, value: Any, site: Site, device: torch.device) -> Any:
        match value:
            case Linear():
                t = self.forward_pass.timestep
                if self.t_scale != 1 and t is not None:
                    t = t * self.t_scale
                return value.at(_narrowed(t.to(device), site).float() if isinstance(t, Tensor) else t)
            case Given.DEPTH:
                return site.depth
            case Given.GUIDANCE:
                return self._guidance_on(site)
            case Draw.PLACES:
                height, width = self.options["cell"]
                grid = self._grid(site)
                cells = (grid.height // height) * (grid.width // width)
                return uniform_places(self._seeds(site, device), site.salt, cells, height * width)
            case Draw.NORMALS:
                return normals(self._seeds(site, device), site.salt, self._grid(site).tokens)
            case Draw.INTEGERS:
                tokens = self._grid(site).tokens
                return bits(self._seeds(site, device), site.salt, 3 * tokens).unflatten(1, (3, tokens))
        return value

    def _guidance_on(self, site: Site) -> Tensor | None:
        """Return |eps_c - eps_0| of the previous step on a site's grid [B, N], averaged over the area of each token."""
        size, grid = self.forward_pass.guidance, self._grid(site)
        if size is None:
            return None
        resized = F.interpolate(size.unsqueeze(1), (grid.height, grid.width), mode="area")
        return _narrowed(resized.flatten(1), site)

    def _seeds(self, site: Site, device: torch.device) -> Tensor:
        """Return one seed per row, or one for all rows if no task set them."""
        seeds = self.forward_pass.row_seeds
        if seeds is None:  # a CUDA graph could not carry the number of the pass, which is on the CPU
            seeds = self.call_seed ^ self.state.number(self.forward_pass).view(1)
        return _narrowed(seeds.to(device, non_blocking=True), site)  # without waiting for the device


@torch.compiler.disable(reason="bigain: what the method does depends on the timestep, which is read on the host")
def _values(timestep: Tensor | float | None) -> list[float]:
    """Return the distinct timesteps of a batch, high to low. On a GPU this waits for the device."""
    return sorted(set(torch.as_tensor(timestep).flatten().tolist()), reverse=True)


def _in_full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Turn autocast off where it is on: it would compute scores and similarities in half precision."""
    if device.type == "meta" or not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def all_finite(x: Tensor) -> bool:
    """Return whether every number is finite. A finite sum proves it, and is quicker; but the sum may overflow."""
    return bool(x.sum().isfinite()) or bool(x.isfinite().all())


def _narrowed(x: Tensor, site: Site) -> Tensor:
    """Return the values of the distinct rows of a tensor with one value per row."""
    return x if site.distinct_rows is None else site.distinct_rows.narrow_if_whole(x)
