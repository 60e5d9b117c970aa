"""List what is averaged: each destination, then the sources merged into it in index order."""

from __future__ import annotations

import itertools

import torch
import triton
import triton.language as tl
from torch import Tensor

from bigain.tokens.kernels.launching import blocks, expect, operator, wrap_triton

DESTINATIONS = 64  # of a program
CHUNK, BLOCK = 1024, 64  # sources scanned together; listed sources compared with each other


@triton.jit
def _group(
    merged: tl.tensor,
    target: tl.tensor,
    destinations: tl.tensor,
    lists: tl.tensor,
    members: tl.tensor,
    starts: tl.tensor,
    tokens: tl.tensor,
    removed: tl.tensor,
    count: tl.tensor,
    range_size: tl.constexpr,
    chunk: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """List the members of a range of one sample's destinations. Tensors are pointers.

    The program selects the merged sources of its destinations, then counts for each source how many of them precede it.
    It adds nothing atomically, so the result does not depend on the order in which programs run.
    """
    sample = tl.program_id(1).to(tl.int64)
    low = tl.program_id(0) * range_size
    merged += sample * removed
    target += sample * removed
    lists += sample * removed
    members += sample * (removed + count)
    lane = tl.arange(0, chunk)
    before = 0  # sources of the destinations of earlier programs
    for start in range(0, removed, chunk):
        goes_to = tl.load(target + start + lane, start + lane < removed, count)
        before += tl.sum((goes_to < low).to(tl.int32), 0)
    lists += before
    listed = 0
    for start in range(0, removed, chunk):
        goes_to = tl.load(target + start + lane, start + lane < removed, count).to(tl.int32)
        is_here = ((goes_to >= low) & (goes_to < low + range_size) & (goes_to < count)).to(tl.int32)
        token = tl.load(merged + start + lane, start + lane < removed, 0).to(tl.int32)
        place = listed + tl.cumsum(is_here, 0) - 1
        tl.store(lists + place, (goes_to - low) * tokens + token, is_here != 0)
        listed += tl.sum(is_here, 0)
    tl.debug_barrier()
    member = tl.arange(0, block)
    for start in range(0, listed, block):
        key = tl.load(lists + start + member, start + member < listed, 0)
        smaller = tl.zeros((block,), tl.int32)
        for other in range(0, listed, block):
            others = tl.load(lists + other + member, other + member < listed, 2147483647)
            smaller += tl.sum((others[None, :] < key[:, None]).to(tl.int32), 1)
        group = key // tokens
        at = before + low + smaller + group + 1  # each destination so far takes a place too
        tl.store(members + at, key % tokens, start + member < listed)
    group = tl.arange(0, range_size)
    smaller = tl.zeros((range_size,), tl.int32)
    for other in range(0, listed, block):
        others = tl.load(lists + other + member, other + member < listed, 2147483647)
        smaller += tl.sum((others[None, :] < (group * tokens)[:, None]).to(tl.int32), 1)
    at = before + low + smaller + group
    is_destination = low + group < count
    token = tl.load(destinations + sample * count + low + group, is_destination, 0)
    tl.store(members + at, token.to(tl.int32), is_destination)
    tl.store(starts + sample * count + low + group, at, is_destination)


@operator
def group(merged: Tensor, target: Tensor, destinations: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """List the members of every destination: [B, D + r] token indices, and where each list starts [B, D], int32.

    `merged` [B, r] tokens, in any order, go to the positions `target` [B, r] in `destinations` [B, D]. The time is
    quadratic in the number of sources that share a range of destinations, which is all of them if all tokens are equal.
    """
    merged, target, destinations = merged.contiguous(), target.contiguous(), destinations.contiguous()
    batch, removed = merged.shape
    count = destinations.shape[1]
    lists = merged.new_empty(batch, removed, dtype=torch.int32)
    members = merged.new_empty(batch, removed + count, dtype=torch.int32)
    starts = merged.new_empty(batch, count, dtype=torch.int32)
    wrap_triton(_group)[(blocks(count, DESTINATIONS), batch)](
        *(merged, target, destinations, lists, members, starts, tokens, removed, count),
        *(DESTINATIONS, CHUNK, BLOCK),
    )
    return members, starts


def check_group(device: torch.device, dtype: torch.dtype) -> None:
    """Group eight unordered sources around 70 destinations, which take two programs."""
    destinations = torch.arange(100, 170, device=device)[None]
    merged = torch.tensor([[9, 4, 7, 1, 8, 3, 6, 5]], device=device)
    target = torch.tensor([[69, 0, 69, 0, 2, 63, 0, 64]], device=device)
    members, starts = group(merged, target, destinations, 170)
    expected = [[100 + k] for k in range(70)]
    for place, token in sorted(zip(target[0].tolist(), merged[0].tolist(), strict=True)):
        expected[place].append(token)
    expect(members[0].tolist() == list(itertools.chain(*expected)), "wrong members")
    expect(starts[0].tolist() == [sum(map(len, expected[:k])) for k in range(70)], "wrong starts")


CHECKS = {"group": check_group}
