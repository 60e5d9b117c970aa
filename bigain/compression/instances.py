"""Attributes that hooks and compiled models need on module instances: put them on, and take them off."""

from __future__ import annotations

import inspect
from functools import partial

from torch import nn


def remove_hook(module: nn.Module, name: str) -> None:
    """Remove diffusers' hook of that name from a module, if it has one, and what diffusers leaves behind.

    That is an empty registry and a `forward` on the instance, which would shadow that of a swapped class.
    """
    registry = vars(module).get("_diffusers_hook")
    if registry is None:
        return
    registry.remove_hook(name, recurse=False)
    if registry.hooks:
        return
    del module._diffusers_hook
    forward = vars(module).get("forward")
    if inspect.ismethod(forward) and forward.__func__ is type(module).forward and forward.__self__ is module:
        del module.forward


def show_to_compiler(module: nn.Module) -> None:
    """Set `forward` on a module's instance to its class's.

    A model that was compiled earlier has no guard on hooks, but it has one on this attribute, and so is compiled anew.
    """
    if "forward" not in vars(module):
        module.forward = partial(type(module).forward, module)


def hide_from_compiler(module: nn.Module) -> None:
    """Remove that `forward`, unless something else has wrapped it."""
    forward = vars(module).get("forward")
    if type(forward) is partial and forward.func is type(module).forward:
        del module.forward
