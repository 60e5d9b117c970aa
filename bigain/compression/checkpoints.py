"""Gradient checkpoints that run a block again as part of its own forward pass, with the plans and draws of that."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from bigain.compression.state import ForwardPass, ForwardState

FUNCTION = "_gradient_checkpointing_func"  # of the modules that diffusers lets checkpoint their blocks


@dataclass
class InPass:
    """A block that runs as part of a forward pass, whichever runs now."""

    block: Callable[..., Any]
    state: ForwardState
    forward_pass: ForwardPass | None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self.state.resumed(self.forward_pass):
            return self.block(*args, **kwargs)


@dataclass
class PassKeepingCheckpoint:
    """A checkpoint function that hands blocks to the original one bound to the pass that calls it."""

    original: Callable[..., Any]
    state: ForwardState

    def __call__(self, block: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.original(InPass(block, self.state, self.state.current), *args, **kwargs)


def checkpointing(model: nn.Module) -> list[nn.Module]:
    """Return the modules of a model that can checkpoint what they call."""
    return [module for module in model.modules() if "gradient_checkpointing" in vars(module)]


def keep_passes(modules: Iterable[nn.Module], state: ForwardState) -> None:
    """Make the checkpoints that are on keep their pass."""
    for module in modules:
        original = vars(module).get(FUNCTION)
        if module.gradient_checkpointing and original and not isinstance(original, PassKeepingCheckpoint):
            setattr(module, FUNCTION, PassKeepingCheckpoint(original, state))


def release(modules: Iterable[nn.Module]) -> None:
    """Put the original checkpoint functions back."""
    for module in modules:
        function = vars(module).get(FUNCTION)
        if isinstance(function, PassKeepingCheckpoint):
            setattr(module, FUNCTION, function.original)
