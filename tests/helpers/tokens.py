"""Random tokens."""

from __future__ import annotations

import torch

from bigain.tokens import TokenGrid


def random_tokens(grid: TokenGrid, batch: int = 2, channels: int = 5, seed: int = 0) -> torch.Tensor:
    """Draw tokens [batch, H*W, channels] of a grid."""
    return torch.randn(batch, grid.tokens, channels, generator=torch.Generator().manual_seed(seed))
