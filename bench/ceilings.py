"""Measure what a device can reach: a large matrix product in every precision, and a copy within its memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import torch

from bench.rounds import Row, seconds

SIDE = 8192  # of the matrices
COPIED = 2**32  # bytes, many times the size of a cache
PRECISIONS = {
    "bfloat16": (torch.bfloat16, False),
    "float16": (torch.float16, False),
    "tf32": (torch.float32, True),
    "float32": (torch.float32, False),
}


def ceilings(side: int = SIDE, copied: int = COPIED) -> list[Row]:
    """Time the product of two square random matrices in every precision, and a copy."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows: list[Row] = []
    for name, (dtype, tf32) in PRECISIONS.items():
        rate = product(dtype, device, side, tf32) / 1e12
        rows.append({"case": f"{name}, {side} x {side} matrices", "rate": rate, "of": "TFLOP/s"})
    source = torch.randn(copied // 4, device=device)
    target = torch.empty_like(source)
    taken = median_seconds(lambda: target.copy_(source))
    case = f"copy of {copied / 1e9:.1f} GB, read and written"
    rows.append({"case": case, "rate": 2 * copied / taken / 1e12, "of": "TB/s"})
    return rows


def product(dtype: torch.dtype, device: torch.device, side: int = SIDE, tf32: bool = False) -> float:
    """Return the operations per second of the product of two square random matrices."""
    x, y = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    with tf32_products(tf32):
        return 2 * side**3 / median_seconds(lambda: x @ y)


@contextmanager
def tf32_products(allowed: bool) -> Iterator[None]:
    """Set whether products of float32 matrices round their factors to tf32."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def median_seconds(run: Callable[[], object], calls: int = 10, rounds: int = 5) -> float:
    """Return the seconds of a call: the median over rounds of `calls` consecutive calls, which hide the launch."""
    run()

    def repeated() -> None:
        for _ in range(calls):
            run()

    return median(seconds(repeated) for _ in range(rounds)) / calls
