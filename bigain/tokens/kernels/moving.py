"""Reduce and restore tokens: each program writes its tokens once, without atomics."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from bigain.tokens.kernels.launching import blocks, expect, operator, wrap_triton

TOKENS, CHANNELS = 16, 64  # tile of a program


@triton.jit
def _reduce(
    x: tl.tensor,
    kept: tl.tensor,
    members: tl.tensor,
    starts: tl.tensor,
    short: tl.tensor,
    tokens: tl.tensor,
    channels: tl.tensor,
    kept_count: tl.tensor,
    group_count: tl.tensor,
    member_count: tl.tensor,
    block_tokens: tl.constexpr,
    block_channels: tl.constexpr,
) -> None:
    """Write a block of one sample's reduced tokens. A kept token is a group of one. Tensors are pointers."""
    sample = tl.program_id(2).to(tl.int64)
    place = tl.program_id(0) * block_tokens + tl.arange(0, block_tokens)
    channel = tl.program_id(1) * block_channels + tl.arange(0, block_channels)
    group = place - kept_count
    is_kept = place < kept_count
    is_group = (group >= 0) & (group < group_count)
    start = tl.load(starts + sample * group_count + group, is_group, 0)
    is_last = group == group_count - 1
    end = tl.load(starts + sample * group_count + group + 1, is_group & (is_last == 0), member_count)
    size = tl.where(is_group, end - start, 1)
    alone = tl.load(kept + sample * kept_count + place, is_kept, 0).to(tl.int32)
    total = tl.zeros((block_tokens, block_channels), tl.float32)
    x += sample * tokens * channels
    for k in range(0, tl.max(size, 0)):
        member = tl.load(members + sample * member_count + start + k, is_group & (k < size), 0)
        token = tl.where(is_kept, alone, member)
        adds = (is_kept | is_group) & (k < size)
        inside = adds[:, None] & (channel < channels)[None, :]
        total += tl.load(x + token[:, None] * channels + channel[None, :], inside, 0.0).to(tl.float32)
    mean = tl.div_rn(total, tl.broadcast_to(size.to(tl.float32)[:, None], (block_tokens, block_channels)))
    short += (sample * (kept_count + group_count) + place)[:, None] * channels + channel[None, :]
    tl.store(short, mean.to(short.dtype.element_ty), (is_kept | is_group)[:, None] & (channel < channels)[None, :])


@operator
def reduce(x: Tensor, kept: Tensor, members: Tensor, starts: Tensor) -> Tensor:
    """Return the kept tokens [B, K], then the mean of every group: x [B, N, C] -> [B, K + D, C].

    `members` and `starts` come from `group`. Members are added in float32, in their order.
    """
    x, kept, members = x.contiguous(), kept.contiguous(), members.contiguous()
    batch, tokens, channels = x.shape
    left = kept.shape[1] + starts.shape[1]
    short = x.new_empty(batch, left, channels)
    wrap_triton(_reduce)[(blocks(left, TOKENS), blocks(channels, CHANNELS), batch)](
        *(x, kept, members, starts.contiguous(), short, tokens, channels, kept.shape[1], starts.shape[1]),
        *(members.shape[1], TOKENS, CHANNELS),
    )
    return short


@triton.jit
def _restore(
    short: tl.tensor,
    place: tl.tensor,
    x: tl.tensor,
    tokens: tl.tensor,
    channels: tl.tensor,
    left: tl.tensor,
    block_tokens: tl.constexpr,
    block_channels: tl.constexpr,
) -> None:
    """Copy a block of one sample's tokens back from the reduced sequence. Tensors are pointers."""
    sample = tl.program_id(2).to(tl.int64)
    token = tl.program_id(0) * block_tokens + tl.arange(0, block_tokens)
    channel = tl.program_id(1) * block_channels + tl.arange(0, block_channels)
    inside = (token < tokens)[:, None] & (channel < channels)[None, :]
    origin = tl.load(place + sample * tokens + token, token < tokens, 0)
    value = tl.load(short + (sample * left + origin)[:, None] * channels + channel[None, :], inside)
    tl.store(x + (sample * tokens + token)[:, None] * channels + channel[None, :], value, inside)


@operator
def restore(short: Tensor, place: Tensor) -> Tensor:
    """Copy every token from its index in the reduced sequence: short [B, N', C], place [B, N] int32 -> [B, N, C]."""
    short, place = short.contiguous(), place.contiguous()
    batch, left, channels = short.shape
    tokens = place.shape[1]
    x = short.new_empty(batch, tokens, channels)
    wrap_triton(_restore)[(blocks(tokens, TOKENS), blocks(channels, CHANNELS), batch)](
        *(short, place, x, tokens, channels, left, TOKENS, CHANNELS)
    )
    return x


def check_reduce(device: torch.device, dtype: torch.dtype) -> None:
    """Reduce five tokens to a kept token and the means of a group of one and a group of three."""
    x = torch.tensor([[[1.0, 2], [3, 4], [8, 9], [0, 5], [1, 4]]], device=device, dtype=dtype)
    members, starts = torch.tensor([[1, 2, 3, 4]], device=device), torch.tensor([[0, 1]], device=device)
    short = reduce(x, torch.tensor([[0]], device=device), members.int(), starts.int())
    expect(short.tolist() == [[[1.0, 2.0], [3.0, 4.0], [3.0, 6.0]]], "wrong means")


def check_restore(device: torch.device, dtype: torch.dtype) -> None:
    """Restore three tokens from two reduced ones."""
    short = torch.tensor([[[1.0, 2], [3, 4]]], device=device, dtype=dtype)
    x = restore(short, torch.tensor([[1, 0, 1]], device=device, dtype=torch.int32))
    expect(x.tolist() == [[[3.0, 4.0], [1.0, 2.0], [3.0, 4.0]]], "wrong tokens")


CHECKS = {"reduce": check_reduce, "restore": check_restore}
