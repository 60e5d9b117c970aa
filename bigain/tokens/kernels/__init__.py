"""Triton kernels of the token operators. They run on a GPU with Triton; elsewhere torch computes the same results.

`uses` decides for each kernel. Before its first use on a device and in a precision, a kernel computes a small case with
a known answer. If it does not compile or gives a wrong answer, a warning says so and torch replaces it. Triton is
imported only for this check, so the operators need neither Triton nor a GPU.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

KERNELS = ("score", "split", "match", "select", "group", "reduce", "restore", "downsample")
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int64)
SCORES = ("laplacian_l1", "laplacian_l2", "l1_norm", "l2_norm")  # that `score` computes
LARGEST_CELL = 256  # tokens of a cell whose lowest `score` picks
LARGEST_SELECTION = 16384  # sources that `select` holds in one program
LARGEST_TOKENS = (2**31 - 1) // 64  # of `group`, which numbers the tokens of 64 destinations
LARGEST_BATCH = 65535  # rows: the limit of a launch along its second and third axis

failures: dict[tuple[str, str, str], str] = {}  # of kernels, by kernel, device and precision


def uses(kernel: str, x: Tensor) -> bool:
    """Return whether a kernel of `KERNELS` computes on x: never on a CPU, nor where x needs a gradient."""
    if x.device.type != "cuda" and not (x.device.type == "cpu" and interpreted()):
        return False
    if x.dtype not in DTYPES or len(x) > LARGEST_BATCH or (x.requires_grad and torch.is_grad_enabled()):
        return False
    return failure(kernel, str(x.device), str(x.dtype).removeprefix("torch.")) is None


def interpreted() -> bool:
    """Return whether Triton's interpreter runs the kernels on a CPU: TRITON_INTERPRET=1, for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def missing(device: torch.device) -> str | None:
    """Return what a device lacks for kernels: a GPU, Triton, or the C compiler that Triton needs; None if nothing.

    Triton uses the compiler named by the variable CC, or else gcc or clang.
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
    """Return why a kernel cannot be used on a device in a precision, None if it can. Warn the first time."""
    return _failure(kernel, device, dtype)


@functools.cache
def _failure(kernel: str, device: str, dtype: str) -> str | None:
    """Return what `failure` does; check a kernel once per process."""
    reason = missing(torch.device(device))
    if reason is not None:
        return reason
    if device.startswith("cuda") and torch.cuda.is_current_stream_capturing():
        raise RuntimeError("run the compressed model once before capturing it: its kernels are not checked yet")
    try:
        with torch.inference_mode():
            _checks()[kernel](torch.device(device), getattr(torch, dtype))
    except torch.OutOfMemoryError:
        raise  # no fault of the kernel: the batch may be too large
    except Exception as error:  # of any kind: Triton's, its compiler's, the driver's
        reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        failures[kernel, device, dtype] = reason
        warnings.warn(f"torch replaces the Triton kernel {kernel!r} on {device} in {dtype}: {reason}", stacklevel=2)
        return reason
    return None


def _checks() -> dict[str, Callable[[torch.device, torch.dtype], None]]:
    """Return the check of every kernel, which raises an error on a wrong answer. Imports Triton."""
    from bigain.tokens.kernels import downsampling, grouping, matching, moving, scoring, selecting

    modules = (scoring, selecting, matching, grouping, moving, downsampling)
    return {name: check for module in modules for name, check in module.CHECKS.items()}


def described(device: torch.device) -> str:
    """Return what computes the token operators on a device: "triton", or "torch" and why, for kernels that failed."""
    reason = missing(device)
    if reason is not None:
        return f"torch: {reason}"
    return "; ".join(["triton", *(f"torch for {' '.join(place)}: {reason}" for place, reason in failures.items())])
