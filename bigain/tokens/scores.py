"""Per-token frequency scores (Table 13), in float32: high where the map is detailed, low where it is smooth.

In Table 13 the two cosines are small where it is detailed; here they are negated, so that all scores point one way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from bigain.tokens import kernels
from bigain.tokens.grid import TokenGrid


def _in_kernel(score: Callable[[Tensor, TokenGrid], Tensor]) -> Callable[[Tensor, TokenGrid], Tensor]:
    """Compute a score of `kernels.SCORES` in one pass over the tokens, where kernels run."""

    @functools.wraps(score)
    def computed(x: Tensor, grid: TokenGrid) -> Tensor:
        if not kernels.uses("score", x):
            return score(x, grid)
        from bigain.tokens.kernels import scoring

        return scoring.score(x, grid.height, grid.width, 1, 1, score.__name__)[0]

    return computed


def laplacian(x: Tensor, grid: TokenGrid) -> Tensor:
    """Return the 3x3 Laplacian of every channel (Eq. 6), zero-padded: [B, N, C] -> float32 map [B, C, H, W].

    Zero padding, as in the paper's code, raises the scores along the border.
    """
    channels = x.shape[-1]
    kernel = x.new_zeros(9, dtype=torch.float32)  # filled where it is: a copy from the host would wait for the device
    kernel[1::2].fill_(1)
    kernel[4].fill_(-4)
    return F.conv2d(grid.to_map(x).float(), kernel.view(3, 3).expand(channels, 1, 3, 3), padding=1, groups=channels)


@_in_kernel
def laplacian_l1(x: Tensor, grid: TokenGrid) -> Tensor:
    """Return the mean over channels of the absolute Laplacian (Eq. 7): [B, N, C] -> [B, N]."""
    return laplacian(x, grid).abs_().mean(dim=1).flatten(1)


@_in_kernel
def laplacian_l2(x: Tensor, grid: TokenGrid) -> Tensor:
    """Return the root mean square over channels of the Laplacian: [B, N, C] -> [B, N]."""
    return laplacian(x, grid).square_().mean(dim=1).sqrt().flatten(1)


def global_mean_deviation(x: Tensor, grid: TokenGrid) -> Tensor:
    """Return the Euclidean distance to the mean token of the same sample: [B, N, C] -> [B, N]."""
    x = x.float()
    return (x - x.mean(dim=1, keepdim=True)).norm(dim=-1)


@_in_kernel
def l1_norm(x: Tensor, grid: TokenGrid) -> Tensor:
    """Return the sum over channels of absolute values: [B, N, C] -> [B, N]."""
    return x.float().abs().sum(dim=-1)


@_in_kernel
def l2_norm(x: Tensor, grid: TokenGrid) -> Tensor:
    """Return the Euclidean length: [B, N, C] -> [B, N]."""
    return x.float().norm(dim=-1)


def channel_variance(x: Tensor, grid: TokenGrid) -> Tensor:
    """Return the population variance over channels: [B, N, C] -> [B, N]."""
    return x.float().var(dim=-1, correction=0)


def _amplitudes(x: Tensor) -> Tensor:
    """Return |DFT over channels| of every token, all C bins of the two-sided spectrum: [B, N, C]."""
    return torch.fft.fft(x.float(), dim=-1).abs()


def dft_centroid(x: Tensor, grid: TokenGrid) -> Tensor:
    """Return the amplitude-weighted mean bin, k = 1 .. C: [B, N, C] -> [B, N]. A zero vector has centroid 0."""
    amplitudes = _amplitudes(x)
    bins = torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=torch.float32)
    return (amplitudes * bins).sum(dim=-1) / amplitudes.sum(dim=-1).clamp(min=torch.finfo(torch.float32).tiny)


def dft_amplitude(x: Tensor, grid: TokenGrid) -> Tensor:
    """Return the sum of the amplitudes of all bins (Table 13): [B, N, C] -> [B, N]."""
    return _amplitudes(x).sum(dim=-1)


def dft_amplitude_without_dc(x: Tensor, grid: TokenGrid) -> Tensor:
    """Return `dft_amplitude` without the constant bin, as the released code computes it: [B, N, C] -> [B, N]."""
    return _amplitudes(x)[..., 1:].sum(dim=-1)


def cosine_to_neighbours(x: Tensor, grid: TokenGrid) -> Tensor:
    """Return minus the mean cosine to the neighbours above, below, left and right that exist: [B, N, C] -> [B, N].

    Raises ValueError on a grid of one token, which has no neighbour.
    """
    if grid.tokens == 1:
        raise ValueError("a 1x1 grid has no neighbours to compare with")
    unit = F.normalize(grid.to_map(x).float(), dim=1)
    vertical = (unit[:, :, 1:] * unit[:, :, :-1]).sum(dim=1)
    horizontal = (unit[..., 1:] * unit[..., :-1]).sum(dim=1)
    total = F.pad(vertical, (0, 0, 1, 0)) + F.pad(vertical, (0, 0, 0, 1))
    total = total + F.pad(horizontal, (1, 0)) + F.pad(horizontal, (0, 1))
    ones = torch.ones_like(total[:1])
    above, beside = ones[:, 1:], ones[..., 1:]
    neighbours = F.pad(above, (0, 0, 1, 0)) + F.pad(above, (0, 0, 0, 1)) + F.pad(beside, (1, 0)) + F.pad(beside, (0, 1))
    return -(total / neighbours).flatten(1)


def cosine_to_mean(x: Tensor, grid: TokenGrid) -> Tensor:
    """Return minus the cosine to the mean token of the same sample: [B, N, C] -> [B, N]."""
    x = x.float()
    return -F.cosine_similarity(x, x.mean(dim=1, keepdim=True), dim=-1)


SCORES: dict[str, Callable[[Tensor, TokenGrid], Tensor]] = {
    function.__name__: function
    for function in (
        global_mean_deviation,
        l1_norm,
        l2_norm,
        channel_variance,
        laplacian_l1,
        laplacian_l2,
        dft_centroid,
        dft_amplitude,
        dft_amplitude_without_dc,
        cosine_to_neighbours,
        cosine_to_mean,
    )
}
