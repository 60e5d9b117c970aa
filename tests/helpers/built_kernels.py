"""Build kernels for GPUs without one, and pretend that there is one for what only asks which."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

POINTERS = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.int8: "*i8",
}


@contextmanager
def built_for(capability: int, monkeypatch: Any) -> Iterator[list[Any]]:
    """Compile what is launched while the context is open for NVIDIA GPUs of a capability; yield what was built."""
    built: list[Any] = []
    with monkeypatch.context() as patched:
        for name in ("scoring", "selecting", "matching", "grouping", "moving", "downsampling"):
            module = importlib.import_module(f"bigain.tokens.kernels.{name}")
            patched.setattr(module, "wrap_triton", lambda kernel: _Builder(kernel, capability, built))
        yield built


class _Builder:
    """Stands for a kernel: compiles it where it would be launched."""

    def __init__(self, kernel: Any, capability: int, built: list[Any]) -> None:
        self.kernel, self.capability, self.built = kernel, capability, built

    def __getitem__(self, grid: tuple[int, ...]) -> _Builder:
        return self

    def __call__(self, *args: Any, **options: Any) -> None:
        signature: dict[str, str] = {}
        constants: dict[str, Any] = {}
        attributes: dict[tuple[int], list[list[Any]]] = {}
        for place, (parameter, value) in enumerate(zip(self.kernel.params, args, strict=True)):
            if parameter.is_constexpr or (isinstance(value, int) and value == 1):  # as Triton does at a launch
                signature[parameter.name], constants[parameter.name] = "constexpr", value
            elif isinstance(value, torch.Tensor):
                signature[parameter.name] = POINTERS[value.dtype]
            else:
                signature[parameter.name] = "fp32" if isinstance(value, float) else "i32"
            divisible = isinstance(value, torch.Tensor) or (isinstance(value, int) and value % 16 == 0)
            if divisible and not parameter.is_constexpr:  # as Triton does at a launch
                attributes[(place,)] = [["tt.divisibility", 16]]
        source = ASTSource(self.kernel, signature, constants, attributes)
        self.built.append(triton.compile(source, target=GPUTarget("cuda", self.capability, 32), options=options))


class PretendedDriver:
    """Says to Triton that the GPU is one of capability 9.0."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)
