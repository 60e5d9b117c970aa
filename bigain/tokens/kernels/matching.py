"""Similarity and argmax in one kernel, which never writes the matrix of sources x destinations."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from bigain.tokens.kernels import interpreted
from bigain.tokens.kernels.launching import blocks, expect, operator, wrap_triton

# Tile of a program: sources, destinations, channels; then its warps and stages of loading. They are fixed, not
# tuned at run time, because two jobs have to add in the same order. tl.dot needs at least 16 of each.
HALF = (128, 128, 32, 8, 3)
SINGLE = (64, 64, 32, 4, 3)


@triton.jit
def _match(
    x: tl.tensor,
    inverse_norms: tl.tensor,
    sources: tl.tensor,
    destinations: tl.tensor,
    similarity: tl.tensor,
    target: tl.tensor,
    tokens: tl.tensor,
    channels: tl.tensor,
    source_count: tl.tensor,
    destination_count: tl.tensor,
    block_sources: tl.constexpr,
    block_destinations: tl.constexpr,
    block_channels: tl.constexpr,
    precision: tl.constexpr,
    upcast: tl.constexpr,
) -> None:
    """Compare a block of sources of one sample with all its destinations, block by block. Tensors are pointers.

    Tokens are multiplied unnormalised: products of two half-precision numbers are exact in float32, in which they are
    summed. Only the destination's norm affects the argmax; the source's is applied to the maximum. `upcast` is for
    Triton's interpreter, which would multiply the bits of bfloat16.
    """
    sample = tl.program_id(1).to(tl.int64)
    source = tl.program_id(0) * block_sources + tl.arange(0, block_sources)
    is_source = source < source_count
    source_token = tl.load(sources + sample * source_count + source, is_source, 0)
    of_source = x + (sample * tokens + source_token)[:, None] * channels
    highest = tl.full((block_sources,), float("-inf"), tl.float32)
    first = tl.zeros((block_sources,), tl.int32)
    for start in range(0, destination_count, block_destinations):
        destination = start + tl.arange(0, block_destinations)
        is_destination = destination < destination_count
        token = tl.load(destinations + sample * destination_count + destination, is_destination, 0)
        of_destination = x + (sample * tokens + token)[None, :] * channels
        dots = tl.zeros((block_sources, block_destinations), tl.float32)
        for part in range(0, channels, block_channels):
            channel = part + tl.arange(0, block_channels)
            is_channel = channel < channels
            a = tl.load(of_source + channel[None, :], mask=is_source[:, None] & is_channel[None, :], other=0.0)
            b = tl.load(
                of_destination + channel[:, None], mask=is_channel[:, None] & is_destination[None, :], other=0.0
            )
            if upcast:
                a, b = a.to(tl.float32), b.to(tl.float32)
            dots = tl.dot(a, b, dots, input_precision=precision)
        cosines = dots * tl.load(inverse_norms + sample * tokens + token, is_destination, 0.0)[None, :]
        cosines = tl.where(is_destination[None, :], cosines, float("-inf"))
        best, at = tl.max(cosines, 1, return_indices=True, return_indices_tie_break_left=True)
        first = tl.where(best > highest, start + at, first)  # a tie stays with the earlier block
        highest = tl.maximum(best, highest)
    highest *= tl.load(inverse_norms + sample * tokens + source_token, is_source, 0.0)
    tl.store(similarity + sample * source_count + source, highest, is_source)
    tl.store(target + sample * source_count + source, first.to(tl.int64), is_source)


@operator
def match(x: Tensor, inverse_norms: Tensor, sources: Tensor, destinations: Tensor) -> tuple[Tensor, Tensor]:
    """Return every source's largest cosine to a destination (float32) and its index in `destinations`: [B, S] each.

    `x` [B, N, C], `inverse_norms` [B, N], `sources` [B, S] and `destinations` [B, D] token indices; ties go to the
    lowest index. Half precision is multiplied directly, float32 as three products in tf32, which keep all but the last
    bits.
    """
    x, inverse_norms, sources, destinations = (y.contiguous() for y in (x, inverse_norms, sources, destinations))
    batch, tokens, channels = x.shape
    similarity = x.new_empty(sources.shape, dtype=torch.float32)
    target = torch.empty_like(sources)
    *tile, warps, stages = SINGLE if x.dtype == torch.float32 else HALF
    precision = "tf32x3" if x.dtype == torch.float32 else "ieee"
    if target.numel():
        wrap_triton(_match)[(blocks(sources.shape[1], tile[0]), batch)](
            *(x, inverse_norms, sources, destinations, similarity, target, tokens, channels),
            *(sources.shape[1], destinations.shape[1], *tile, precision, interpreted()),
            num_warps=warps,
            num_stages=stages,
        )
    return similarity, target


def check_match(device: torch.device, dtype: torch.dtype) -> None:
    """Match 40 tokens of length 2 with the axes: all but three point along the axis of their index modulo 20."""
    x = torch.zeros(1, 60, 40, device=device, dtype=dtype)
    token = torch.arange(60, device=device)
    x[0, token, token % 20] = 2
    x[0, 0], x[0, 1, 7], x[0, 2, 19] = 0, 2, -4  # a zero vector; a tie; an obtuse angle to one axis
    sources, destinations = token[None, :40], token[None, 40:]
    similarity, target = match(x, torch.full((1, 60), 0.5, device=device), sources, destinations)
    expect(target[0].tolist() == [0, *range(1, 20), *range(20)], "wrong destinations")
    expect(similarity[0, :3].tolist() == [0, 1, 1] and bool((similarity[0, 3:] == 1).all()), "wrong similarities")


CHECKS = {"match": check_match}
