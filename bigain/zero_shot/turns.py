"""Threads that share a model classify one after the other, since a classifier puts hooks on the model for a call."""

from __future__ import annotations

from threading import Lock, RLock
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

_LOCKS: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_CHOOSING = Lock()


def turn_on(denoiser: nn.Module) -> Any:
    """Return the lock of a model, which a thread holds while its classifier changes the model."""
    with _CHOOSING:
        return _LOCKS.setdefault(denoiser, RLock())
