"""Start kernels: directly in eager mode, as operators of `torch.library` inside compiled graphs."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import torch

# Triton fuses multiplications with additions by default, but a later version will not, and would round differently.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

from triton.runtime import JITFunction

P = ParamSpec("P")
R = TypeVar("R")


def operator(function: Callable[P, R]) -> Callable[P, R]:
    """Register a function that starts kernels as the operator bigain::<its name>, for graphs of torch.compile.

    In eager mode the function runs directly, since the dispatcher would take longer than a small kernel does.
    """
    registered = torch.library.triton_op(f"bigain::{function.__name__}", function, mutates_args=())

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():
            return registered(*args, **kwargs)
        with torch.cuda.device_of(args[0]), _directly():
            return function(*args, **kwargs)

    return call


_thread = threading.local()


@contextmanager
def _directly() -> Iterator[None]:
    """Start kernels inside the context without torch's wrapper, which takes longer than a small kernel."""
    _thread.direct = True
    try:
        yield
    finally:
        _thread.direct = False


def wrap_triton(kernel: Any) -> Any:
    """Return a kernel that `torch.library` can trace; the same kernel in eager mode and under Triton's interpreter."""
    traced = isinstance(kernel, JITFunction) and not getattr(_thread, "direct", False)
    return torch.library.wrap_triton(kernel) if traced else kernel


def blocks(count: int, size: int) -> int:
    """Return how many blocks of a size hold `count` items: ceil(count / size)."""
    return -(-count // size)


class WrongAnswer(RuntimeError):
    """A kernel gives a wrong answer in its check."""


def expect(holds: bool, otherwise: str) -> None:
    """Raise WrongAnswer unless a check of a kernel holds."""
    if not holds:
        raise WrongAnswer(otherwise)
