"""Devices of backbones, and what torch.compile needs on them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bigain.backbones.base import Backbone
from bigain.methods.method import Method


def device_of(name: str) -> str:
    """Resolve "auto" to the GPU if there is one, else to the CPU.

    Raises ValueError for what is no device of PyTorch, and for a GPU where PyTorch has none.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name).type
    except (RuntimeError, TypeError):
        raise ValueError(f"device is {name!r}; allowed are auto, cpu, cuda, and any other device of PyTorch") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {name!r}, but PyTorch has no GPU here: use cpu or auto")
    return name


def missing_compiler(device: torch.device) -> str | None:
    """Return what torch.compile lacks on a device: Triton on a GPU, a C++ compiler on the CPU; None if nothing."""
    if device.type == "cuda":
        return None if importlib.util.find_spec("triton") else "no Triton"
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "no C++ compiler"
    return None


def no_compilation(device: torch.device, method: Method) -> str | None:
    """Return why a denoiser stays uncompiled: no compiler, or a method that changes the model from step to step."""
    return f"{method.id} changes the model" if method.acts_on == "model" else missing_compiler(device)


def compile_denoiser(backbone: Backbone, mode: str) -> None:
    """Compile the denoiser in place, for batches of one shape; `mode` is torch.compile's."""
    backbone.denoiser.compile(mode=mode, dynamic=False)


@contextmanager
def compiled(backbone: Backbone, mode: str, method: Method) -> Iterator[None]:
    """Compile the denoiser for the length of a with block; "off" leaves it as it is.

    Raises ValueError saying why it cannot be compiled.
    """
    if mode == "off":
        yield
        return
    if missing := no_compilation(backbone.device, method):
        raise ValueError(f"compile is {mode!r}, which does not work here: {missing}. Set it to 'off'")
    before = backbone.denoiser._compiled_call_impl
    compile_denoiser(backbone, mode)
    try:
        yield
    finally:
        backbone.denoiser._compiled_call_impl = before
