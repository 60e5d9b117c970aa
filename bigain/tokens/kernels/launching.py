"""How kernels are started: directly in eager mode, and as operators of `torch.library` inside compiled graphs."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch

# What every Triton so far does when nothing is said: said here, since the next one will not, and would round otherwise.
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
        with torch.cuda.device_of(args[0]):
            return function(*args, **kwargs)

    return call


def wrap_triton(kernel: Any) -> Any:
    """Return a kernel that can be started inside a compiled graph, or as it is where Triton interprets it."""
    return torch.library.wrap_triton(kernel) if isinstance(kernel, JITFunction) else kernel


def blocks(count: int, size: int) -> int:
    """Return how many blocks of a size hold `count` items: ceil(count / size)."""
    return -(-count // size)


class WrongAnswer(RuntimeError):
    """A kernel does not compute what it should."""


def expect(holds: bool, otherwise: str) -> None:
    """Raise WrongAnswer unless a check of a kernel holds."""
    if not holds:
        raise WrongAnswer(otherwise)
