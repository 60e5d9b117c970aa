"""Threads that share a model classify one after the other, since a classifier puts hooks on the model for a call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, RLock, get_ident
from typing import Any
from weakref import WeakKeyDictionary

import torch
from diffusers import ModelMixin
from torch import nn

from bigain.compression.targets import blocks_of

_LOCKS: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_CHOOSING = Lock()


@contextmanager
def turn_on(denoiser: ModelMixin) -> Iterator[None]:
    """Wait until no other thread's classifier runs on a model, and keep it for this thread's.

    Until the end, a forward pass of the model in another thread raises RuntimeError, since the classifier's hooks would
    change its result; one that has begun raises it at its next block. A compiled model cannot tell.
    """
    with _CHOOSING:
        lock = _LOCKS.setdefault(denoiser, RLock())
    with lock:
        thread = get_ident()

        def refuse_others(*_: Any) -> None:
            if not torch.compiler.is_compiling() and get_ident() != thread:
                raise RuntimeError(
                    "a DiffusionClassifier runs on this model in another thread: run one after the other, or on copies"
                )

        modules = [denoiser, *(block.module for block in blocks_of(denoiser))]
        handles = [module.register_forward_pre_hook(refuse_others, prepend=True) for module in modules]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
