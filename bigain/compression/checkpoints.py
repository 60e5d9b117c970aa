"""Gradient checkpoints that rerun a block within its original forward pass, with the same plans and draws."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from bigain.compression.state import ForwardPass, ForwardState

FUNCTION = "_gradient_checkpointing_func"  # of the modules that diffusers lets checkpoint their blocks


@dataclass
class InPass:
    """A block bound to a forward pass, whichever pass runs when it is called."""

    block: Callable[..., Any]
    state: ForwardState
    forward_pass: ForwardPass | None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self.state.resumed(self.forward_pass):
            return self.block(*args, **kwargs)


@dataclass
class PassKeepingCheckpoint:
    """A checkpoint function that binds blocks to the current pass and hands them to the original function."""

    original: Callable[..., Any]
    state: ForwardState

    def __call__(self, block: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.original(InPass(block, self.state, self.state.current), *args, **kwargs)


def checkpointing(model: nn.Module) -> list[nn.Module]:
    """Return the modules of a model that can checkpoint what they call."""
    return [module for module in model.modules() if "gradient_checkpointing" in vars(module)]


def keep_passes(modules: Iterable[nn.Module], state: ForwardState) -> None:
    """Make enabled checkpoints rerun blocks within their original pass."""
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
