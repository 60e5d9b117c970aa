"""The forward processes of training: diffusion, x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps, and flow."""

from __future__ import annotations

import torch
from torch import Tensor


def noised(x_0: Tensor, alphas_bar: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw t uniformly and eps from N(0, I) for a batch x_0 [B, C, H, W]; return x_t, t [B] and eps."""
    t = torch.randint(len(alphas_bar), (len(x_0),), generator=generator)
    eps = torch.randn(x_0.shape, generator=generator)
    alpha_bar = alphas_bar[t].view(-1, 1, 1, 1)
    return alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps, t, eps


def interpolated(x_0: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw sigma and eps for a batch x_0 [B, C, H, W]; return x_t, sigma [B] and the velocity v = eps - x_0.

    x_t = (1 - sigma) x_0 + sigma eps; sigma is logit-normal with mean 0 and variance 1, as for SD3.
    """
    sigma = torch.randn(len(x_0), generator=generator).sigmoid()
    eps = torch.randn(x_0.shape, generator=generator)
    return torch.lerp(x_0, eps, sigma.view(-1, 1, 1, 1)), sigma, eps - x_0
