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

    In eager mode the function runs without it, since the dispatcher would take longer than small kernels do.
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
    """Start kernels without torch's wrapper while the context is open: it takes longer than they do."""
    _thread.direct = True
    try:
        yield
    finally:
        _thread.direct = False


def wrap_triton(kernel: Any) -> Any:
    """Return a kernel as `torch.library` can trace it, or as it is in eager mode and where Triton interprets it."""
    traced = isinstance(kernel, JITFunction) and not getattr(_thread, "direct", False)
    return torch.library.wrap_triton(kernel) if traced else kernel


def blocks(count: int, size: int) -> int:
    """Return how many blocks of a size hold `count` items: ceil(count / size)."""
    return -(-count // size)


class WrongAnswer(RuntimeError):
    """A kernel does not compute what it should."""


def expect(holds: bool, otherwise: str) -> None:
    """Raise WrongAnswer unless a check of a kernel holds."""
    if not holds:
        raise WrongAnswer(otherwise)
