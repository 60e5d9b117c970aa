"""The torch path of the token operators where kernels run, and tokens to compare both on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor

from bigain.tokens import TokenGrid, kernels

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
GRIDS = (TokenGrid(8, 8), TokenGrid(9, 7), TokenGrid(5, 12), TokenGrid(16, 10))


@contextmanager
def torch_path() -> Iterator[None]:
    """Let torch compute everything while the context is open."""
    with patch.object(kernels, "uses", lambda kernel, x: False):
        yield


def tokens_of(grid: TokenGrid, batch: int, channels: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Draw tokens [B, N, C] of which a few are zero and a few equal."""
    x = torch.randn(batch, grid.tokens, channels, generator=torch.Generator().manual_seed(seed))
    x[:, ::11] = 0
    x[:, 3] = x[:, 5] = x[:, grid.tokens // 2]
    return x.to(dtype)


def whole_numbers(grid: TokenGrid, batch: int, channels: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Draw tokens [B, N, C] of small whole numbers, with many ties: every sum of products is exact."""
    x = torch.randint(-2, 3, (batch, grid.tokens, channels), generator=torch.Generator().manual_seed(seed))
    x[:, grid.tokens // 2 :] = x[:, : grid.tokens - grid.tokens // 2].clone()
    return x.to(dtype)


def split_at_random(batch: int, tokens: int, destinations: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw the sources [B, S] and destinations [B, D] of a batch, in no order."""
    order = torch.rand(batch, tokens, generator=torch.Generator().manual_seed(seed)).argsort(dim=1)
    return order[:, destinations:], order[:, :destinations]
