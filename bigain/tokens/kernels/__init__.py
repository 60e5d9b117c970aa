"""Triton kernels of the token operators: what runs on a GPU that has Triton. Everywhere else torch does.

`uses` decides, kernel by kernel. Before a kernel runs for the first time on a device and in a precision, it computes a
small case with a known answer. One that does not compile there or answers wrongly is reported in one warning, and the
torch path stands in for it. Nothing here imports Triton before that, so the operators need neither Triton nor a GPU.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import shutil
import warnings

import torch
from torch import Tensor

MODULES = {
    "score": "scoring",
    "split": "selecting",
    "match": "matching",
    "select": "selecting",
    "group": "grouping",
    "reduce": "moving",
    "restore": "moving",
    "downsample": "downsampling",
}
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int64)
SCORES = ("laplacian_l1", "laplacian_l2", "l1_norm", "l2_norm")  # that `score` computes
LARGEST_CELL = 256  # tokens of a cell whose lowest `score` picks
LARGEST_SELECTION = 16384  # sources that `select` holds in one program
LARGEST_KEY = 2**31 - 1  # of `group`: a place and a token in one number

failures: dict[tuple[str, str, str], str] = {}  # of kernels, by kernel, device and precision


def uses(kernel: str, x: Tensor) -> bool:
    """Return whether a kernel of `MODULES` computes on x: not on a CPU, nor where a gradient is to flow back to x."""
    if x.device.type != "cuda" and not interpreted():
        return False
    if x.dtype not in DTYPES or (x.requires_grad and torch.is_grad_enabled()):
        return False
    return failure(kernel, str(x.device), str(x.dtype).removeprefix("torch.")) is None


def interpreted() -> bool:
    """Return whether kernels run in Triton's interpreter, on a CPU: set with TRITON_INTERPRET=1, for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def missing(device: torch.device) -> str | None:
    """Return what a device lacks to run kernels: a GPU, Triton, or the C compiler that Triton needs; None if nothing.

    Triton takes the compiler that the variable CC names, or else gcc or clang.
    """
    if interpreted():
        return None
    if device.type != "cuda":
        return "no GPU"
    if importlib.util.find_spec("triton") is None:
        return "no Triton"
    return None if os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang") else "no C compiler"


@torch.compiler.assume_constant_result
def failure(kernel: str, device: str, dtype: str) -> str | None:
    """Return why a kernel cannot be used on a device in a precision, None if it can. The first time, a warning says."""
    return _failure(kernel, device, dtype)


@functools.cache
def _failure(kernel: str, device: str, dtype: str) -> str | None:
    """Return `failure`, from one check per process."""
    reason = missing(torch.device(device))
    if reason is not None:
        return reason
    module = importlib.import_module(f"bigain.tokens.kernels.{MODULES[kernel]}")
    try:
        with torch.inference_mode():
            module.CHECKS[kernel](torch.device(device), getattr(torch, dtype))
    except Exception as error:  # of any kind: Triton's, its compiler's, the driver's
        reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        failures[kernel, device, dtype] = reason
        warnings.warn(f"torch replaces the Triton kernel {kernel!r} on {device} in {dtype}: {reason}", stacklevel=2)
        return reason
    return None


def described(device: torch.device) -> str:
    """Return what computes the token operators on a device: "triton", or "torch" and why, for kernels that failed."""
    reason = missing(device)
    if reason is not None:
        return f"torch: {reason}"
    return "; ".join(["triton", *(f"torch for {' '.join(place)}: {reason}" for place, reason in failures.items())])
