"""Per-token frequency scores (Table 13): high where the map is detailed, low where it is smooth."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bigain.tokens.grid import TokenGrid


def laplacian(x: Tensor, grid: TokenGrid) -> Tensor:
    """The 3x3 Laplacian of every channel (Eq. 6), zero-padded: [B, N, C] -> float32 [B, C, H, W].

    Zero padding, as in the paper's code, raises the scores along the border.
    """
    channels = x.shape[-1]
    kernel = x.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=torch.float32)
    return F.conv2d(grid.to_map(x).float(), kernel.expand(channels, 1, 3, 3), padding=1, groups=channels)


def laplacian_l1(x: Tensor, grid: TokenGrid) -> Tensor:
    """Mean over channels of the absolute Laplacian (Eq. 7): [B, N, C] -> [B, N]."""
    return laplacian(x, grid).abs().mean(dim=1).flatten(1)


SCORES = {"laplacian_l1": laplacian_l1}
