"""Select the tokens to merge: split them into sources and destinations, and pick the most similar sources.

One program handles all tokens of a sample, so the number of selected tokens before a token is a cumulative sum in it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from bigain.tokens.kernels import LARGEST_SELECTION
from bigain.tokens.kernels.launching import expect, operator, wrap_triton

CHUNK = 2048  # tokens that `split` handles together


@triton.jit
def _split(
    destinations: tl.tensor,
    flags: tl.tensor,
    sources: tl.tensor,
    in_order: tl.tensor,
    tokens: tl.tensor,
    count: tl.tensor,
    chunk: tl.constexpr,
) -> None:
    """Mark one sample's destinations, then number sources and destinations. Tensors are pointers."""
    sample = tl.program_id(0).to(tl.int64)
    flags += sample * tokens
    lane = tl.arange(0, chunk)
    for start in range(0, tokens, chunk):
        tl.store(flags + start + lane, tl.zeros((chunk,), tl.int8), start + lane < tokens)
    tl.debug_barrier()
    for start in range(0, count, chunk):
        place = start + lane
        token = tl.load(destinations + sample * count + place, place < count, 0)
        is_token = (place < count) & (token >= 0) & (token < tokens)
        tl.store(flags + token, tl.full((chunk,), 1, tl.int8), is_token)
    tl.debug_barrier()
    before = 0  # destinations in earlier chunks
    for start in range(0, tokens, chunk):
        token = start + lane
        is_destination = tl.load(flags + token, token < tokens, 0).to(tl.int32)
        so_far = before + tl.cumsum(is_destination, 0)
        is_source = (token < tokens) & (is_destination == 0)
        tl.store(sources + sample * (tokens - count) + token - so_far, token.to(tl.int64), is_source)
        tl.store(in_order + sample * count + so_far - 1, token.to(tl.int64), is_destination != 0)
        before += tl.sum(is_destination, 0)


@operator
def split(destinations: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """Split N tokens into sources [B, N - D] and destinations [B, D], both in index order, given D distinct tokens."""
    destinations = destinations.contiguous()
    batch, count = destinations.shape
    flags = destinations.new_empty(batch, tokens, dtype=torch.int8)
    sources, in_order = destinations.new_empty(batch, tokens - count), torch.empty_like(destinations)
    wrap_triton(_split)[(batch,)](destinations, flags, sources, in_order, tokens, count, CHUNK, num_warps=8)
    return sources, in_order


@triton.jit
def _select(
    similarity: tl.tensor,
    sources: tl.tensor,
    target: tl.tensor,
    destinations: tl.tensor,
    kept: tl.tensor,
    merged: tl.tensor,
    merged_target: tl.tensor,
    place: tl.tensor,
    count: tl.tensor,
    removed: tl.tensor,
    destination_count: tl.tensor,
    block: tl.constexpr,
) -> None:
    """Select the `removed` most similar sources of one sample, without sorting. Tensors are pointers.

    Integer keys order like the similarities. The kernel builds the largest threshold that `removed` keys reach bit by
    bit; among keys equal to it, it selects the first.
    """
    sample = tl.program_id(0).to(tl.int64)
    source = tl.arange(0, block)
    is_source = source < count
    bits = tl.load(similarity + sample * count + source, is_source, float("-inf")).to(tl.int32, bitcast=True)
    ordered = tl.where(bits < 0, -2147483648 - bits, bits)  # a float is a sign and a magnitude; -0 becomes 0
    key = tl.where(is_source, ordered.to(tl.uint32, bitcast=True) ^ 0x80000000, 0)
    threshold = tl.zeros((1,), tl.uint32)
    bit = tl.full((1,), 0x80000000, tl.uint32)
    for _ in range(32):
        candidate = threshold | bit
        reached = tl.sum((key >= candidate).to(tl.int32), 0)
        threshold = tl.where(reached >= removed, candidate, threshold)
        bit = bit >> 1
    is_above = is_source & (key > threshold)
    is_equal = is_source & (key == threshold)
    wanted = removed - tl.sum(is_above.to(tl.int32), 0)
    is_merged = is_above | (is_equal & (tl.cumsum(is_equal.to(tl.int32), 0) <= wanted))
    merged_so_far = tl.cumsum(is_merged.to(tl.int32), 0)
    is_kept = is_source & (is_merged == 0)
    left = count - removed
    tokens = count + destination_count
    token = tl.load(sources + sample * count + source, is_source, 0)
    goes_to = tl.load(target + sample * count + source, is_source, 0)
    tl.store(kept + sample * left + source - merged_so_far, token, is_kept)
    tl.store(place + sample * tokens + token, source - merged_so_far, is_kept)
    at = sample * removed + merged_so_far - 1
    tl.store(merged + at, token, is_merged)
    tl.store(merged_target + at, goes_to, is_merged)
    tl.store(place + sample * tokens + token, (left + goes_to).to(tl.int32), is_merged)
    for start in range(0, destination_count, block):
        destination = start + source
        token = tl.load(destinations + sample * destination_count + destination, destination < destination_count, 0)
        tl.store(place + sample * tokens + token, left + destination, destination < destination_count)


@operator
def select(
    similarity: Tensor, sources: Tensor, target: Tensor, destinations: Tensor, removed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Select the `removed` sources of highest similarity [B, S] float32; ties go to the lowest index.

    `sources` and `target` [B, S] and `destinations` [B, D] are as in `match`. Return, all in index order, the kept
    sources [B, S - r], the merged sources [B, r] and their targets [B, r]; and every token's index in the reduced
    sequence [B, N] int32, in which destinations follow the kept sources.
    """
    similarity, sources, target = similarity.contiguous(), sources.contiguous(), target.contiguous()
    destinations = destinations.contiguous()
    batch, count = similarity.shape
    destination_count = destinations.shape[1]
    kept = sources.new_empty(batch, count - removed)
    merged, merged_target = (sources.new_empty(batch, removed) for _ in range(2))
    place = sources.new_empty(batch, count + destination_count, dtype=torch.int32)
    block = max(64, triton.next_power_of_2(count))
    wrap_triton(_select)[(batch,)](
        *(similarity, sources, target, destinations, kept, merged, merged_target, place, count, removed),
        *(destination_count, block),
        num_warps=min(32, max(4, block // 512)),
    )
    return kept, merged, merged_target, place


def check_split(device: torch.device, dtype: torch.dtype) -> None:
    """Split five tokens."""
    sources, destinations = split(torch.tensor([[3, 0]], device=device), 5)
    expect((sources.tolist(), destinations.tolist()) == ([[1, 2, 4]], [[0, 3]]), "wrong tokens")


def check_select(device: torch.device, dtype: torch.dtype) -> None:
    """Select two of four sources, two of them equal, with similarities on either side of zero; for every block size."""
    for count in (4, LARGEST_SELECTION // 4, LARGEST_SELECTION):
        similarity = torch.full((1, count), -2.0, device=device)
        similarity[0, :4] = torch.tensor([-0.5, 0.25, -1.0, -0.5], device=device)
        token = torch.arange(count + 1, device=device)[None]
        target = torch.zeros_like(token[:, :-1])
        kept, merged, merged_target, place = select(similarity, token[:, :-1], target, token[:, -1:], 2)
        expect(merged.tolist() == [[0, 1]] and kept.tolist() == token[:, 2:-1].tolist(), "wrong tokens")
        expect(merged_target.tolist() == [[0, 0]], "wrong destinations")
        expect(place.tolist() == [[count - 2, count - 2, *range(count - 2), count - 2]], "wrong places")


CHECKS = {"split": check_split, "select": check_select}
