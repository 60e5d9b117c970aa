"""Similarity and argmax in one GPU kernel (Triton), which never writes the sources x destinations similarities.

Triton is imported when the kernel is first asked for: without it, and without a GPU, this module can be imported.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
from typing import Any

import torch
from torch import Tensor

SOURCES, DESTINATIONS, CHANNELS = 64, 64, 32  # what a program holds at once; tl.dot wants at least 16 of each


@functools.cache
def available(device: torch.device) -> bool:
    """Whether the kernel runs on a device: a GPU, where Triton is installed and finds the C compiler it needs."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    return bool(os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang"))


def backend(device: torch.device) -> str:
    """What compares sources with destinations on a device: "triton", or "torch", as always under torch.compile."""
    return "triton" if not torch.compiler.is_compiling() and available(device) else "torch"


def best_destinations(unit: Tensor, sources: Tensor, destinations: Tensor) -> tuple[Tensor, Tensor]:
    """For every source the dot product with, and the place of, its most similar destination: [B, S] each.

    `unit` [B, N, C] float32, `sources` [B, S] and `destinations` [B, D] token indices; ties go to the lowest place.
    """
    unit, sources, destinations = (x.contiguous() for x in (unit, sources, destinations))
    similarity = torch.empty(sources.shape, dtype=torch.float32, device=unit.device)
    place = torch.empty_like(sources)
    counts = (*unit.shape[1:], sources.shape[1], destinations.shape[1])
    blocks = -(-sources.shape[1] // SOURCES)
    if place.numel():
        with torch.cuda.device_of(unit):
            _kernel()[(blocks, len(unit))](
                *(unit, sources, destinations, similarity, place, *counts, SOURCES, DESTINATIONS, CHANNELS),
                enable_fp_fusion=True,  # Triton's default, which is to change
            )
    return similarity, place


@functools.cache
def _kernel() -> Any:
    """`_most_similar` for Triton, which looks its language up among this module's names."""
    global tl
    import triton
    import triton.language as tl

    return triton.jit(_most_similar)


def _most_similar(
    unit: tl.tensor,
    sources: tl.tensor,
    destinations: tl.tensor,
    similarity: tl.tensor,
    place: tl.tensor,
    tokens: tl.tensor,
    channels: tl.tensor,
    source_count: tl.tensor,
    destination_count: tl.tensor,
    block_sources: tl.constexpr,
    block_destinations: tl.constexpr,
    block_channels: tl.constexpr,
) -> None:
    """One block of sources of one sample against all its destinations, block by block. Tensors are pointers here."""
    sample = tl.program_id(1).to(tl.int64)
    source = tl.program_id(0) * block_sources + tl.arange(0, block_sources)
    is_source = source < source_count
    token = tl.load(sources + sample * source_count + source, is_source, 0)
    of_source = unit + (sample * tokens + token)[:, None] * channels
    highest = tl.full((block_sources,), float("-inf"), tl.float32)
    first = tl.zeros((block_sources,), tl.int32)
    for start in range(0, destination_count, block_destinations):
        destination = start + tl.arange(0, block_destinations)
        is_destination = destination < destination_count
        token = tl.load(destinations + sample * destination_count + destination, is_destination, 0)
        of_destination = unit + (sample * tokens + token)[None, :] * channels
        dots = tl.zeros((block_sources, block_destinations), tl.float32)
        for part in range(0, channels, block_channels):
            channel = part + tl.arange(0, block_channels)
            is_channel = channel < channels
            x = tl.load(of_source + channel[None, :], mask=is_source[:, None] & is_channel[None, :], other=0.0)
            y = tl.load(
                of_destination + channel[:, None], mask=is_channel[:, None] & is_destination[None, :], other=0.0
            )
            dots = tl.dot(x, y, dots, input_precision="ieee")
        dots = tl.where(is_destination[None, :], dots, float("-inf"))
        best, at = tl.max(dots, 1, return_indices=True, return_indices_tie_break_left=True)
        first = tl.where(best > highest, start + at, first)  # an equal one of an earlier block stays
        highest = tl.maximum(best, highest)
    tl.store(similarity + sample * source_count + source, highest, is_source)
    tl.store(place + sample * source_count + source, first, is_source)
