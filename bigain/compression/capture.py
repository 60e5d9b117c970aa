"""Refuse what `torch.jit.trace` and `torch.export` cannot record of a method: they would keep one call's behaviour."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bigain.methods.method import Method


def recorder() -> str | None:
    """Return what records the forward pass that runs as a graph for all later calls, if anything does."""
    if torch.jit.is_tracing():
        return "torch.jit.trace"
    return "torch.export" if torch.compiler.is_exporting() else None


def refuse(method_id: str) -> None:
    """Raise ValueError if a graph is recorded, for methods whose passes depend on the timestep or on earlier passes."""
    name = recorder()
    if name is not None:
        raise ValueError(
            f"{method_id} depends on the timestep, which {name} would record as this call's: use torch.compile"
        )


def check(method: Method, timestep: Any, reads_timestep: bool) -> None:
    """Raise ValueError if a recorded graph would not do what the method does at other timesteps or on other images.

    A timestep that is a plain number is a constant of the graph like any other.
    """
    name = recorder()
    if name is None:
        return
    if name == "torch.jit.trace" and method.acts_on == "tokens":
        raise ValueError(
            f"{method.id}: torch.jit.trace cannot record how tokens are chosen and merged: use torch.export or "
            "torch.compile"
        )
    if reads_timestep and isinstance(timestep, Tensor):
        raise ValueError(
            f"{method.id}: its strength depends on the timestep (a window, skip_t0, or a ratio or factor that varies), "
            f"which {name} would record as this call's: apply it with a constant strength, or use torch.compile"
        )
    if method.needs_guidance:
        raise ValueError(
            f"{method.id} reads the guidance of the step before, which {name} cannot record: run the model as it is"
        )
    if name == "torch.export" and method.options.get("rule") == "quantile":
        raise ValueError(
            f"{method.id} leaves a number of tokens that depends on the image, which torch.export cannot record: use "
            "another rule, or torch.compile"
        )
