"""A token method attached to a model: where it acts, its strength and options, and what one forward pass remembers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bigain.compression.attachment import Attachment, RowKey
from bigain.compression.sites import Site
from bigain.core.rng import seed_for
from bigain.methods.method import Draw, Linear, Method
from bigain.methods.options import MetricSite
from bigain.tokens import OPERATORS
from bigain.tokens.blocks import RaggedPlan
from bigain.tokens.draws import normals, uniform_places


@dataclass
class TokenAttachment(Attachment):
    """A token method attached to a model. `sites` says what is compressed, and after a forward pass what was."""

    method: Method
    strength: float | int
    options: dict[str, Any]
    metric_site: MetricSite
    seed: int
    sites: list[Site]
    timestep: Tensor | float | None = None
    calls: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    row_seeds: Tensor | None = None  # [B]; without them the rows of a batch share what a method draws
    shared_plans: dict[str, Any] = field(default_factory=dict)  # of this forward pass
    planning: AbstractContextManager[Any] = field(default_factory=nullcontext)  # around the operator: a FLOP counter
    call_seed: int = field(init=False)

    def __post_init__(self) -> None:
        self.call_seed = seed_for(self.seed, "calls")  # hashed, so that calls of neighbouring seeds have none in common

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
        self.shared_plans.clear()
        for site in self.sites:
            site.plan = None  # left behind only by a forward pass that failed

    def plan(self, site: Site, x: Tensor) -> Any:
        """The operator's answer for a block's tokens: a plan, or the reduced keys and values; where rows repeat one
        another, of the distinct rows.

        Raises ValueError for tokens that are not finite; on a GPU, where looking would wait for it, and in a compiled
        model, they show in the task's results, which are checked.
        """
        shared = f"{site.plan_group if self.method.plan_for == 'stage' else ''} {site.grid}"
        if self.method.plan_for != "block" and shared in self.shared_plans:
            return self.shared_plans[shared]
        if x.device.type == "cpu" and not torch.compiler.is_compiling() and not all_finite(x):
            raise ValueError(f"{site.block.name}: its tokens are not all finite numbers; look at the model's inputs")
        if site.distinct_rows is not None and len(x) == len(site.distinct_rows.inverse):
            x = site.distinct_rows.narrow(x)
        operator = OPERATORS[self.method.operator]
        strength = self.method.strength_on(self.strength, site.grid.height, site.grid.width)
        options = self.operator_options(site, x.device)
        with self.planning:
            plan = operator(x, site.grid, strength, **options)
        if isinstance(plan, RaggedPlan):
            site.observe(plan.tokens_left)
        if self.method.plan_for != "block":
            self.shared_plans[shared] = plan if site.distinct_rows is None else plan.of_rows(site.distinct_rows.inverse)
        return plan

    def operator_options(self, site: Site, device: torch.device) -> dict[str, Any]:
        """The options of one call: what depends on the timestep is resolved, what is random is drawn."""
        return {name: self._resolved(value, site, device) for name, value in self.options.items()}

    def _resolved(self, value: Any, site: Site, device: torch.device) -> Any:
        match value:
            case Linear():
                t = self.timestep
                return value.at(_own(t, site).float() if isinstance(t, Tensor) else t)
            case Draw.PLACES:
                height, width = self.options["cell"]
                cells = (site.grid.height // height) * (site.grid.width // width)
                return uniform_places(self._seeds(site, device), site.salt, cells, height * width)
            case Draw.NORMALS:
                return normals(self._seeds(site, device), site.salt, site.grid.tokens)
        return value

    def _seeds(self, site: Site, device: torch.device) -> Tensor:
        """One a row, or one for all: rows share what is drawn unless a task said what they are."""
        seeds = self.row_seeds if self.row_seeds is not None else self.call_seed ^ self.calls.view(1)
        return _own(seeds.to(device, non_blocking=True), site)  # the device is not waited for

    @property
    def is_random(self) -> bool:
        """Whether the method draws random numbers."""
        return any(isinstance(value, Draw) for value in self.options.values())

    def set_rows(self, keys: Sequence[RowKey]) -> None:
        """Say what the rows of the coming batches are, so that each draws its own random numbers."""
        if not self.is_random:
            return
        shared = self.method.draws_per == "noised_image"
        seeds = [seed_for(self.seed, "rows", k.image, "any" if shared else k.condition, k.t, 0) for k in keys]
        self.row_seeds = torch.tensor(seeds)

    def report(self) -> list[dict[str, Any]]:
        """Every site: its block, grid, tokens, and how many of them are queries (kept) and keys."""
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
        """One timestep: all cost the same."""
        return [(500.0, 1.0)]

    def predict(self, site: Site) -> None:
        """Fill in N' and M for the site's grid. Raises ValueError if the strength cannot be reached on it."""
        site.kept, site.keys = self.method.tokens_left(self.strength, site.grid.height, site.grid.width)

    def __str__(self) -> str:
        return f"{self.method.id} {self.strength} on {len(self.sites)} blocks\n" + "\n".join(map(str, self.sites))


def all_finite(x: Tensor) -> bool:
    """Whether every number is finite. If their sum is, they are, and it is quicker; but it may overflow."""
    return bool(x.sum().isfinite()) or bool(x.isfinite().all())


def _own(x: Tensor, site: Site) -> Tensor:
    """Of something with a number for every row, the distinct rows' where they repeat one another."""
    rows = site.distinct_rows
    return x if rows is None or x.ndim == 0 or len(x) != len(rows.inverse) else rows.narrow(x)
