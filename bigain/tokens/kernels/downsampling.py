"""Nearest, average and their blend (Eq. 8) in one pass over the tokens."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from bigain.tokens.kernels.launching import blocks, expect, operator, wrap_triton

TOKENS, CHANNELS = 16, 64  # tile of a program


@triton.jit
def _site(index: tl.tensor, size: tl.tensor, reduced: tl.tensor, site: tl.constexpr) -> tl.tensor:
    """Return the position along an axis of `size` tokens of the index-th of `reduced` tokens, rounded as torch does."""
    if site == "cell_centre":
        window = size // reduced
        return index * window + window // 2
    scale = tl.div_rn(tl.zeros((1,), tl.float32) + size, tl.zeros((1,), tl.float32) + reduced)
    shift = 0.5 if site == "nearest_exact" else 0.0
    return tl.minimum(((index.to(tl.float32) + shift) * scale).to(tl.int32), size - 1)


@triton.jit
def _downsample(
    x: tl.tensor,
    alphas: tl.tensor,
    y: tl.tensor,
    alpha: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    reduced_height: tl.tensor,
    reduced_width: tl.tensor,
    channels: tl.tensor,
    site: tl.constexpr,
    blend: tl.constexpr,
    block_tokens: tl.constexpr,
    block_channels: tl.constexpr,
) -> None:
    """Compute a block of one sample's tokens on the reduced grid. Tensors are pointers."""
    sample = tl.program_id(2).to(tl.int64)
    token = tl.program_id(0) * block_tokens + tl.arange(0, block_tokens)
    channel = tl.program_id(1) * block_channels + tl.arange(0, block_channels)
    tokens = reduced_height * reduced_width
    inside = (token < tokens)[:, None] & (channel < channels)[None, :]
    row, column = token // reduced_width, token % reduced_width
    x += sample * height * width * channels
    result = tl.zeros((block_tokens, block_channels), tl.float32)
    weight = tl.load(alphas + sample) if blend == "alphas" else alpha
    if blend != "average":
        nearest = _site(row, height, reduced_height, site) * width + _site(column, width, reduced_width, site)
        result = tl.load(x + nearest[:, None] * channels + channel[None, :], inside, 0.0).to(tl.float32)
    if blend != "nearest":
        window_height, window_width = height // reduced_height, width // reduced_width
        total = tl.zeros((block_tokens, block_channels), tl.float32)
        for k in range(0, window_height * window_width):
            at = (row * window_height + k // window_width) * width + column * window_width + k % window_width
            total += tl.load(x + at[:, None] * channels + channel[None, :], inside, 0.0).to(tl.float32)
        average = tl.div_rn(total, window_height * window_width * 1.0)
        result = average if blend == "average" else weight * result + (1.0 - weight) * average
    y += (sample * tokens + token)[:, None] * channels + channel[None, :]
    tl.store(y, result.to(y.dtype.element_ty), inside)


@operator
def downsample(
    x: Tensor, alphas: Tensor | None, height: int, width: int, reduced: list[int], alpha: float, site: str
) -> Tensor:
    """Return alpha * nearest + (1 - alpha) * average of tokens x [B, N, C] on the reduced grid: [B, M, C].

    alpha = 1 is nearest sampling and alpha = 0 average pooling; `alphas` [B] replaces alpha by one value per sample.
    `site` is as in `nearest`. Computed in float32 and rounded once.
    """
    x = x.contiguous()
    batch, _, channels = x.shape
    y = x.new_empty(batch, reduced[0] * reduced[1], channels)
    blend = "alphas" if alphas is not None else {0.0: "average", 1.0: "nearest"}.get(alpha, "alpha")
    wrap_triton(_downsample)[(blocks(y.shape[1], TOKENS), blocks(channels, CHANNELS), batch)](
        *(x, x if alphas is None else alphas.float().contiguous(), y, alpha, height, width, reduced[0], reduced[1]),
        *(channels, site, blend, TOKENS, CHANNELS),
    )
    return y


def check_downsample(device: torch.device, dtype: torch.dtype) -> None:
    """Halve a 2x5 grid: nearest sampling takes columns 1 and 3 of five; the average leaves out the last column."""
    x = torch.tensor([[1.0, 2, 3, 4, 5, 3, 4, 5, 6, 7]], device=device, dtype=dtype).unsqueeze(-1)
    alphas = torch.tensor([0.5], device=device)
    for alpha, each, expected in ((1.0, None, [4.0, 6.0]), (0.0, None, [2.5, 4.5]), (0.0, alphas, [3.25, 5.25])):
        y = downsample(x, each, 2, 5, [1, 2], alpha, "nearest_exact")
        expect(y.flatten().tolist() == expected, "wrong tokens")


CHECKS = {"downsample": check_downsample}
