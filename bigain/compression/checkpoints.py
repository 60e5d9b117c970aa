"""Gradient checkpoints that rerun a block within its original forward pass, with the same plans and draws."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from bigain.compression.state import ForwardPass

if TYPE_CHECKING:
    from bigain.compression.token_attachment import TokenAttachment

FUNCTION = "_gradient_checkpointing_func"  # of the modules that diffusers lets checkpoint their blocks


@dataclass
class InPass:
    """A block bound to a forward pass, whichever pass runs when it is called."""

    block: Callable[..., Any]
    attachment: TokenAttachment
    forward_pass: ForwardPass | None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the block. Raises ValueError if the method was removed since the pass: the block would run without it."""
        if not self.attachment.is_attached:
            raise ValueError(
                f"{self.attachment.method.id} was removed before the backward pass, in which gradient checkpoints run "
                "blocks again: remove it, or leave `with compressed(...)`, after backward()"
            )
        with self.attachment.state.resumed(self.forward_pass):
            return self.block(*args, **kwargs)


@dataclass
class PassKeepingCheckpoint:
    """A checkpoint function that binds blocks to the current pass and hands them to the original function."""

    original: Callable[..., Any]
    attachment: TokenAttachment

    def __call__(self, block: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.attachment.is_attached:  # else a shallow copy has kept this function
            block = InPass(block, self.attachment, self.attachment.state.current)
        return self.original(block, *args, **kwargs)


def checkpointing(model: nn.Module) -> list[nn.Module]:
    """Return the modules of a model that can checkpoint what they call."""
    return [module for module in model.modules() if "gradient_checkpointing" in vars(module)]


def keep_passes(modules: Iterable[nn.Module], attachment: TokenAttachment) -> None:
    """Make enabled checkpoints rerun blocks within their original pass."""
    for module in modules:
        function = vars(module).get(FUNCTION)
        is_kept = isinstance(function, PassKeepingCheckpoint)
        if not module.gradient_checkpointing or not function or (is_kept and function.attachment is attachment):
            continue
        setattr(module, FUNCTION, PassKeepingCheckpoint(function.original if is_kept else function, attachment))


def refuse(model: nn.Module, method_id: str) -> None:
    """Raise ValueError if a forward pass would checkpoint blocks, for methods that cannot repeat them later."""
    if torch.is_grad_enabled() and any(module.gradient_checkpointing for module in checkpointing(model)):
        raise ValueError(
            f"{method_id} changes blocks for the length of a forward pass, so gradient checkpoints would run other "
            "blocks in the backward pass: call disable_gradient_checkpointing()"
        )


def release(modules: Iterable[nn.Module]) -> None:
    """Put the original checkpoint functions back."""
    for module in modules:
        function = vars(module).get(FUNCTION)
        if isinstance(function, PassKeepingCheckpoint):
            setattr(module, FUNCTION, function.original)
