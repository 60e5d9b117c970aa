"""Muon in float32: momentum, orthogonalised before each step (Jordan et al. 2024).

torch's own Muon iterates in bfloat16, which a CPU without native bfloat16 emulates: on two such cores the optimiser
takes half as long as the forward and backward pass of `mini_dit`. Otherwise this is torch's Muon with its defaults and
`adjust_lr_fn="match_rms_adamw"`, and is tested against it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.775, 2.0315)  # of the quintic a x + b x^3 + c x^5 that drives singular values towards 1
ITERATIONS = 5
MOMENTUM = 0.95


def orthogonalised(matrix: Tensor) -> Tensor:
    """Drive the singular values of a matrix [m, n] towards 1 by Newton-Schulz iterations."""
    a, b, c = COEFFICIENTS
    x = matrix.T if matrix.size(0) > matrix.size(1) else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.size(0) > matrix.size(1) else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised and scaled to the root mean square of AdamW's steps.

    For weights of linear layers and convolutions, as matrices with one row per output channel.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # takes no closure
        """Update the weights from their gradients."""
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                buffer = state.setdefault("momentum_buffer", torch.zeros_like(weight))
                buffer.lerp_(weight.grad, 1 - MOMENTUM)
                matrix = torch.lerp(weight.grad, buffer, MOMENTUM).flatten(1)
                scale = 0.2 * group["lr"] * max(matrix.shape) ** 0.5
                weight.sub_((scale * orthogonalised(matrix)).view_as(weight))
