"""A token method attached to a model: its strength, options and sites, and the operator call at each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bigain.compression.attachment import Attachment, RowKey
from bigain.compression.sites import Site
from bigain.compression.state import ForwardState
from bigain.core.rng import seed_for
from bigain.methods.method import Draw, Linear, Method
from bigain.methods.options import MetricSite
from bigain.tokens import OPERATORS, Plan, RaggedPlan
from bigain.tokens.draws import normals, uniform_places


@dataclass
class TokenAttachment(Attachment):
    """A token method attached to a model. `sites` are the compressed blocks, updated by every forward pass."""

    method: Method
    strength: float | int
    options: dict[str, Any]
    metric_site: MetricSite
    seed: int
    sites: list[Site]
    operator: Callable[..., Any] = field(init=False)
    call_seed: int = field(init=False)
    state: ForwardState = field(default_factory=ForwardState)
    planning: AbstractContextManager[Any] = field(default_factory=nullcontext)  # around the operator: a FLOP counter

    def __post_init__(self) -> None:
        """Raise ValueError if the strength cannot be reached on the grid of a site."""
        self.operator = OPERATORS[self.method.operator]
        self.call_seed = seed_for(self.seed, "calls")  # hashed, so that neighbouring seeds share no draws
        for site in self.sites:
            site.tokens_left = partial(self.method.tokens_left, self.strength)
            site.tokens_left(site.grid.height, site.grid.width)

    @property
    def is_random(self) -> bool:
        """Return whether the method draws random numbers."""
        return any(isinstance(value, Draw) for value in self.options.values())

    def set_rows(self, keys: Sequence[RowKey], seeds: Tensor | None = None) -> None:
        """Say what the rows of the coming batches are, so that each draws its own random numbers."""
        if self.is_random:
            self.state.row_seeds = torch.tensor(self.row_seeds(keys)) if seeds is None else seeds

    def row_seeds(self, keys: Sequence[RowKey]) -> list[int]:
        """Return the seed of each row's random draws, which rows of one noised image may share; nothing if the method
        draws none."""
        if not self.is_random:
            return []
        paired = self.method.draws_per == "noised_image"
        return [seed_for(self.seed, "rows", k.image, "any" if paired else k.condition, k.t, 0) for k in keys]

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
        """Return a single timestep: all cost the same."""
        return [(500.0, 1.0)]

    def __str__(self) -> str:
        return f"{self.method.id} {self.strength} on {len(self.sites)} blocks\n" + "\n".join(map(str, self.sites))

    # -- called by the hooks, in the order of a forward pass -----------------------------------------------------------

    def begin(self, timestep: Tensor | float | None) -> None:
        """Begin a forward pass."""
        self.state.begin(timestep)
        if self.is_random and self.state.row_seeds is None:  # a CUDA graph could not carry this number, on the CPU
            self.state.passes += 1
        for site in self.sites:
            site.plan = None  # left behind only by a forward pass that failed

    @property
    def skips_pass(self) -> bool:
        """Return whether `skip_t0` leaves this forward pass uncompressed. Raises ValueError for a batch of mixed t."""
        if not self.method.skip_t0:
            return False
        is_zero = {value == 0 for value in torch.as_tensor(self.state.timestep).flatten().tolist()}
        if len(is_zero) > 1:
            raise ValueError(f"{self.method.id}: skip_t0 needs one timestep for the whole batch, or none that is 0")
        return is_zero == {True}

    def plan(self, site: Site, x: Tensor) -> Plan:
        """Return the plan for a block's tokens x [B, N, C], shared as `plan_for` says; where rows repeat one another,
        of the distinct rows. Raises as `call_operator` does."""
        shared, rows = self.state.shared_plans, site.distinct_rows
        group = site.plan_group if self.method.plan_for == "stage" else ""
        key = (group, site.grid.height, site.grid.width)  # plain data, which torch.compile can look up
        if self.method.plan_for != "block" and key in shared:
            return shared[key]
        plan: Plan = self.call_operator(site, x)
        if isinstance(plan, RaggedPlan):
            site.observe(plan.tokens_left)
        if self.method.plan_for != "block":
            shared[key] = plan if rows is None else plan.of_rows(rows.inverse)
        return plan

    def call_operator(self, site: Site, x: Tensor) -> Any:
        """Return the operator's result for a block's tokens x [B, N, C]: a plan, or the reduced keys and values.

        Raises ValueError for tokens that are not finite on the CPU. Checking would stall a GPU and break a compiled
        graph: there, the task's results show it, which are checked.
        """
        if x.device.type == "cpu" and not torch.compiler.is_compiling() and not all_finite(x):
            raise ValueError(f"{site.block.name}: its tokens are not all finite; check the model's inputs")
        if site.distinct_rows is not None:
            x = site.distinct_rows.narrow_if_whole(x)
        strength = self.method.strength_on(self.strength, site.grid.height, site.grid.width)
        options = self.operator_options(site, x.device)
        with self.planning, _in_full_precision(x.device):
            return self.operator(x, site.grid, strength, **options)

    def operator_options(self, site: Site, device: torch.device) -> dict[str, Any]:
        """Return the options of one operator call, with timesteps resolved and random numbers drawn."""
        return {name: self._resolved(value, site, device) for name, value in self.options.items()}

    def _resolved(self, value: Any, site: Site, device: torch.device) -> Any:
        match value:
            case Linear():
                t = self.state.timestep
                return value.at(_narrowed(t, site).float() if isinstance(t, Tensor) else t)
            case Draw.PLACES:
                height, width = self.options["cell"]
                cells = (site.grid.height // height) * (site.grid.width // width)
                return uniform_places(self._seeds(site, device), site.salt, cells, height * width)
            case Draw.NORMALS:
                return normals(self._seeds(site, device), site.salt, site.grid.tokens)
        return value

    def _seeds(self, site: Site, device: torch.device) -> Tensor:
        """Return one seed per row, or one for all rows if no task said what they are."""
        row_seeds = self.state.row_seeds
        seeds = self.call_seed ^ self.state.passes.view(1) if row_seeds is None else row_seeds
        return _narrowed(seeds.to(device, non_blocking=True), site)  # without waiting for the device


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
