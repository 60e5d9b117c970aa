"""Refuse `torch.jit.trace` and `torch.export` where the recorded graph would repeat one call's choices forever."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bigain.methods.method import Method


def recorder() -> str | None:
    """Return the name of the function that is recording this forward pass as a graph, or None."""
    if torch.jit.is_tracing():
        return "torch.jit.trace"
    return "torch.export" if torch.compiler.is_exporting() else None


def refuse(method_id: str) -> None:
    """Raise ValueError if this pass is being recorded, for methods that depend on the timestep or on earlier passes."""
    name = recorder()
    if name is not None:
        raise ValueError(
            f"{method_id} depends on the timestep, which {name} would record as this call's: use torch.compile"
        )


def check(method: Method, timestep: Any, reads_timestep: bool) -> None:
    """Raise ValueError if a recorded graph would differ from the method at other timesteps or on other images.

    A timestep that is a plain number becomes a constant of the graph, as any number does.
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
