"""Similarity and argmax in one GPU kernel (Triton), which never writes the sources x destinations similarities.

Triton is imported when the kernel first runs, so this module needs neither Triton nor a GPU.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil

import torch
from torch import Tensor

SOURCES, DESTINATIONS, CHANNELS = 64, 64, 32  # tile of one program; tl.dot needs at least 16 of each


@functools.cache
def available(device: torch.device) -> bool:
    """Return whether the kernel runs on a device: a GPU, with Triton and the C compiler that Triton needs."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    return bool(os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang"))


def backend(device: torch.device) -> str:
    """Return what compares sources with destinations on a device: "triton" or "torch" (always under torch.compile)."""
    return "triton" if not torch.compiler.is_compiling() and available(device) else "torch"


def best_destinations(unit: Tensor, sources: Tensor, destinations: Tensor) -> tuple[Tensor, Tensor]:
    """Return every source's largest dot product with a destination, and that destination's place: [B, S] each.

    `unit` [B, N, C] float32, `sources` [B, S] and `destinations` [B, D] token indices; ties go to the lowest place.
    """
    from bigain.tokens.triton_kernel import most_similar

    unit, sources, destinations = (x.contiguous() for x in (unit, sources, destinations))
    similarity = torch.empty(sources.shape, dtype=torch.float32, device=unit.device)
    place = torch.empty_like(sources)
    counts = (*unit.shape[1:], sources.shape[1], destinations.shape[1])
    blocks = -(-sources.shape[1] // SOURCES)
    if place.numel():
        with torch.cuda.device_of(unit):
            most_similar[(blocks, len(unit))](
                *(unit, sources, destinations, similarity, place, *counts, SOURCES, DESTINATIONS, CHANNELS),
                enable_fp_fusion=True,  # Triton's default today, which is announced to change
            )
    return similarity, place
