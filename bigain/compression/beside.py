"""List what other packages have put on a module, for error messages: classes, wrappers of `forward`, hooks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

PLAIN = ("torch", "diffusers", "bigain", "builtins", "functools")  # packages whose classes and functions are expected


def others_on(*modules: nn.Module) -> str:
    """Return what other techniques have put on modules, as the end of a message."""
    names = dict.fromkeys(name for module in modules for name in _others_on(module))
    return "on it is also " + ", ".join(names) if names else "nothing else is known to be on it"


def stateful_hooks(module: nn.Module) -> list[str]:
    """Return the names of diffusers' hooks on a module that keep results of other forward passes."""
    return [name for name, hook in _hooks_on(module).items() if hook._is_stateful]


def smoothed_projections(attention: nn.Module) -> list[str]:
    """Return the names of an attention's projections that carry diffusers' smoothed-energy guidance, on themselves or
    on a layer inside them (an adapter's base layer)."""
    return [
        name
        for name, projection in attention.named_children()
        for layer in projection.modules()
        if any(type(hook).__name__ == "SmoothedEnergyGuidanceHook" for hook in _hooks_on(layer).values())
    ]


def _hooks_on(module: nn.Module) -> dict[str, Any]:
    """Return diffusers' hooks on a module, by name."""
    registry = vars(module).get("_diffusers_hook")
    return {} if registry is None else registry.hooks


def _others_on(module: nn.Module) -> Iterator[str]:
    if not _is_plain(type(module)):
        yield _name(type(module))
    forward = vars(module).get("forward")
    for wrapper in _wrappers(forward):
        if not _is_plain(wrapper):
            yield _name(wrapper)
    yield from (f"diffusers' hook {name!r}" for name in _hooks_on(module))
    if "_hf_hook" in vars(module):
        yield f"accelerate's {type(module._hf_hook).__name__}"
    for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
        if not _is_plain(hook):
            yield _name(hook)


def _wrappers(function: Any) -> Iterator[Any]:
    """Yield a function and those that it wraps."""
    while function is not None:
        inner = getattr(function, "func", None)
        yield inner if inner is not None else function
        function = getattr(function, "__wrapped__", None)


def _is_plain(named: Any) -> bool:
    module = getattr(named, "__module__", None) or type(named).__module__
    return module.split(".")[0] in PLAIN


def _name(named: Any) -> str:
    kind = named if hasattr(named, "__qualname__") else type(named)
    return f"{kind.__module__}.{kind.__qualname__}"
