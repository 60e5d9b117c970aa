"""State of a forward pass: what hooks hand to each other. The configuration is `TokenAttachment`."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from bigain.tokens import Plan

PlanKey = tuple[str, int, int]  # plan group, height and width of the grid


@dataclass
class ForwardState:
    """The timestep and shared plans of the current forward pass, the passes so far, and the seeds of its batch."""

    timestep: Tensor | float | None = None
    passes: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    shared_plans: dict[PlanKey, Plan] = field(default_factory=dict)
    row_seeds: Tensor | None = None  # [B]; without them the rows of a batch share what a method draws

    def begin(self, timestep: Tensor | float | None) -> None:
        """Begin a forward pass and drop the plans that a failed one left."""
        self.timestep = timestep
        self.shared_plans.clear()

    def end(self) -> None:
        """End a forward pass and drop its plans: a compiled model meets none at the next, and keeps its graph."""
        self.shared_plans.clear()
