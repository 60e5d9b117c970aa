"""The Triton kernel behind `bigain.tokens.kernels`. Importing this module needs Triton."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def most_similar(
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
    """Compare one block of sources of one sample with all its destinations, block by block. Tensors are pointers."""
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
        first = tl.where(best > highest, start + at, first)  # ties stay with the earlier block
        highest = tl.maximum(best, highest)
    tl.store(similarity + sample * source_count + source, highest, is_source)
    tl.store(place + sample * source_count + source, first, is_source)
