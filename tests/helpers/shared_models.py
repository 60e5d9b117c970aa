"""Tiny models that the tests of a process share, each handed back as it was."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from tests.helpers import models

_built: dict[str, tuple[Any, dict[str, Any], dict[str, type]]] = {}  # models, their weights and processors when built


def shared_model(family: str) -> Iterator[Any]:
    """Yield the tiny model of a family. Afterwards, fail the test that left something on it, and forget the model.

    Which tests share a model, and in which order, depends on how they are spread over processes: what is left on it
    would fail another test, now and then.
    """
    if family not in _built:
        network = getattr(models, f"tiny_{family}")()
        _built[family] = network, copy.deepcopy(network.state_dict()), processors(network)
    network, weights, built_with = _built[family]
    yield network
    replaced = [
        f"another processor of {name}" for name, kind in processors(network).items() if built_with[name] != kind
    ]
    if left := sorted([*leftovers(network), *changed(network, weights), *replaced]):
        del _built[family]
        raise AssertionError(f"left on the {family} that tests share: {', '.join(left)}; use a model of your own")


def processors(network: Any) -> dict[str, type]:
    """Return the type of every attention's processor, by the attention's name."""
    return {name: type(module.processor) for name, module in network.named_modules() if hasattr(module, "processor")}


def changed(network: Any, weights: dict[str, Any]) -> Iterator[str]:
    """Yield which weights are others than when the model was built, in values, type or memory format."""
    import torch

    for name, value in network.state_dict().items():
        if not (value.stride() == weights[name].stride() and torch.equal(value, weights[name])):
            yield f"another {name}"


def leftovers(network: Any) -> Iterator[str]:
    """Yield what is on a model that it was not built with: a method, wrappers of `forward`, hooks, training mode."""
    from bigain import attached_to

    if attached_to(network) is not None:
        yield "a method"
    for name, module in network.named_modules():
        yield from (f"{key} of {name or 'the model'}" for key in ("forward", "_diffusers_hook") if key in vars(module))
        if module._forward_hooks or module._forward_pre_hooks:
            yield f"hooks of {name or 'the model'}"
        if module.training:
            yield f"training of {name or 'the model'}"
