"""Merging by similarity in the frequency domain of the channels (Fourier Token Merging)."""

from __future__ import annotations

import torch
from torch import Tensor

from bigain.methods.counts import removed_tokens
from bigain.tokens import matching
from bigain.tokens.draws import mixed
from bigain.tokens.grid import TokenGrid
from bigain.tokens.merge import TokenPlan, soft_matching


def merge_fourier(
    metric: Tensor,
    grid: TokenGrid,
    ratio: float,
    cell: tuple[int, int],
    rho: float,
    permute: str,
    offsets: Tensor,
) -> TokenPlan:
    """Merge as ToMe does, by the cosine of `spectra`: Fourier Token Merging.

    `metric` [B, N, C]; one random destination per cell, at the `offsets` [B or 1, D] that the caller draws.
    """
    removed = removed_tokens(ratio, grid.height, grid.width, cell)
    return soft_matching(spectra(metric, rho, permute), matching.at_offsets(offsets, grid, cell), removed)


def spectra(x: Tensor, rho: float, permute: str = "none") -> Tensor:
    """Return the real part of every token's DFT over channels, the first int(C * rho) bins: [B, N, C] -> [B, N, K].

    Re(DFT) is the DFT of the even part (x_c + x_{-c mod C}) / 2, so it depends on the order of the channels, which is
    arbitrary. `permute`: "none", or "channels", which first reorders them by a fixed shuffle (control).
    """
    if permute == "channels":
        x = x[..., mixed(torch.arange(x.shape[-1], device=x.device)).argsort()]
    return torch.fft.fft(x.float(), dim=-1).real[..., : max(1, int(x.shape[-1] * rho))]
