"""Scores, inverse norms and the lowest-scoring token of each cell, in one pass over the tokens."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from bigain.tokens.kernels.launching import blocks, expect, operator, wrap_triton

TOKENS, CHANNELS = 32, 64  # tile of a program
SMALLEST_NORM = tl.constexpr(1e-12)  # as in torch.nn.functional.normalize


@triton.jit
def _score(
    x: tl.tensor,
    scores: tl.tensor,
    inverse_norms: tl.tensor,
    lowest: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    channels: tl.tensor,
    cell_height: tl.constexpr,
    cell_width: tl.constexpr,
    score: tl.constexpr,
    cells: tl.constexpr,
    cell_size: tl.constexpr,
    block_channels: tl.constexpr,
) -> None:
    """Score the tokens of a few cells of one sample. A cell cut off by the edge of the grid gets scores but no minimum.

    `cell_size` is the number of tokens in a cell, rounded up to a power of two. Tensors are pointers.
    """
    sample = tl.program_id(1).to(tl.int64)
    cells_in_row = tl.cdiv(width, cell_width)
    lane = tl.arange(0, cells * cell_size)
    cell = tl.program_id(0) * cells + lane // cell_size
    within = lane % cell_size
    row = cell // cells_in_row * cell_height + within // cell_width
    column = cell % cells_in_row * cell_width + within % cell_width
    is_token = (within < cell_height * cell_width) & (row < height) & (column < width)
    token = row * width + column
    first = x + (sample * height * width + token) * channels
    total = tl.zeros((cells * cell_size,), tl.float32)
    squares = tl.zeros((cells * cell_size,), tl.float32)
    for start in range(0, channels, block_channels):
        channel = start + tl.arange(0, block_channels)
        inside = is_token[:, None] & (channel < channels)[None, :]
        place = first[:, None] + channel[None, :]
        value = tl.load(place, inside, 0.0).to(tl.float32)
        squares += tl.sum(value * value, 1)
        if score == "laplacian_l1" or score == "laplacian_l2":
            above = tl.load(place - width * channels, inside & (row > 0)[:, None], 0.0).to(tl.float32)
            left = tl.load(place - channels, inside & (column > 0)[:, None], 0.0).to(tl.float32)
            right = tl.load(place + channels, inside & (column < width - 1)[:, None], 0.0).to(tl.float32)
            below = tl.load(place + width * channels, inside & (row < height - 1)[:, None], 0.0).to(tl.float32)
            laplacian = above + left - 4.0 * value + right + below
            total += tl.sum(tl.abs(laplacian) if score == "laplacian_l1" else laplacian * laplacian, 1)
        elif score == "l1_norm":
            total += tl.sum(tl.abs(value), 1)
    norm = tl.sqrt_rn(squares)
    if score == "laplacian_l1":
        total = tl.div_rn(total, channels * 1.0)
    elif score == "laplacian_l2":
        total = tl.sqrt_rn(tl.div_rn(total, channels * 1.0))
    elif score == "l2_norm":
        total = norm
    at = sample * height * width + token
    tl.store(inverse_norms + at, tl.div_rn(1.0, tl.maximum(norm, SMALLEST_NORM)), is_token)
    if score != "none":
        tl.store(scores + at, total, is_token)
        ranked = tl.where(total == total, total, float("-inf"))  # the first NaN, as in torch, and never padding
        by_cell = tl.reshape(tl.where(is_token, ranked, float("inf")), (cells, cell_size))
        offset = tl.argmin(by_cell, 1, tie_break_left=True)
        cell = tl.program_id(0) * cells + tl.arange(0, cells)
        cell_row, cell_column = cell // cells_in_row, cell % cells_in_row
        whole_rows, whole_columns = height // cell_height, width // cell_width
        row = cell_row * cell_height + offset // cell_width
        column = cell_column * cell_width + offset % cell_width
        place = sample * whole_rows * whole_columns + cell_row * whole_columns + cell_column
        is_whole = (cell_row < whole_rows) & (cell_column < whole_columns)
        tl.store(lowest + place, (row * width + column).to(tl.int64), is_whole)


@operator
def score(
    x: Tensor, height: int, width: int, cell_height: int, cell_width: int, name: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Score tokens x [B, N, C] of a grid by a rule of `kernels.SCORES`, or by "none".

    Return the scores (Eq. 7, Table 13) and the inverse norms, float32 [B, N] each, and the lowest-scoring token of each
    whole cell, int64 [B, D], the first one of a tie. For "none" only the norms are filled in.
    """
    x = x.contiguous()
    batch, tokens, channels = x.shape
    scores, inverse_norms = (x.new_empty(batch, tokens, dtype=torch.float32) for _ in range(2))
    lowest = x.new_empty(batch, (height // cell_height) * (width // cell_width), dtype=torch.int64)
    cell_size = triton.next_power_of_2(cell_height * cell_width)
    cells = max(1, TOKENS // cell_size)
    count = blocks(height, cell_height) * blocks(width, cell_width)
    wrap_triton(_score)[(blocks(count, cells), batch)](
        *(x, scores, inverse_norms, lowest, height, width, channels, cell_height, cell_width, name),
        *(cells, cell_size, CHANNELS),
    )
    return scores, inverse_norms, lowest


def check_score(device: torch.device, dtype: torch.dtype) -> None:
    """Score a one-channel map that is 3 at a single token: |Laplacian| is 12 there and 3 at its neighbours."""
    x = torch.zeros(1, 20, 1, device=device, dtype=dtype)
    x[0, 6] = 3
    scores, inverse_norms, lowest = score(x, 4, 5, 2, 2, "laplacian_l1")
    expected = {1: 3.0, 5: 3.0, 6: 12.0, 7: 3.0, 11: 3.0}
    expect(scores[0].tolist() == [expected.get(token, 0.0) for token in range(20)], "wrong scores")
    expect(abs(inverse_norms[0, 6].item() - 1 / 3) < 1e-6, "wrong norms")
    expect(lowest[0].tolist() == [0, 2, 10, 12], "wrong tokens of cells")


CHECKS = {"score": check_score}
