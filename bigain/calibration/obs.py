"""Second-order column pruning: which inputs to remove from a linear layer, and how the others compensate for them.

For y = W x and H = sum of x x^T, removing the inputs G and refitting the other weights adds
tr(W_G [H^-1]_GG^-1 W_G^T) of squared error (optimal brain surgeon, Hassibi and Stork 1993).
"""

from __future__ import annotations

import torch
from torch import Tensor


def damped(hessian: Tensor, damping: float) -> Tensor:
    """Return H + damping * mean(diag H) * I in double precision: invertible even if some inputs are constant."""
    hessian = hessian.double()
    return hessian + damping * hessian.diagonal().mean() * torch.eye(len(hessian), device=hessian.device).double()


def removal_order(weight: Tensor, hessian: Tensor, groups: int) -> tuple[list[int], list[float]]:
    """Return the greedy order in which to remove groups of inputs, and the squared error that each removal adds.

    `weight` [O, I]; `hessian` [I, I], damped. The first inputs form `groups` groups of equal size; those after them (of
    a bias) are never removed. Ties go to the lowest group.
    """
    size = weight.shape[1] // groups
    w, inverse = weight.double().clone(), torch.linalg.inv(hessian)
    order: list[int] = []
    errors: list[float] = []
    left = torch.ones(groups, dtype=torch.bool, device=weight.device)
    for _ in range(groups):
        costs = _costs(w, inverse, groups, size).masked_fill(~left, torch.inf)
        group = int(costs.argmin())
        removed = slice(group * size, (group + 1) * size)
        solved = torch.linalg.solve(inverse[removed, removed], inverse[removed])
        errors.append(float(costs[group]))
        order.append(group)
        left[group] = False
        w.addmm_(w[:, removed].clone(), solved, alpha=-1)
        inverse.addmm_(inverse[:, removed].clone(), solved, alpha=-1)
        inverse.diagonal()[removed] = 1.0  # its rows and columns are zero now, and its block must stay invertible
    return order, errors


def _costs(w: Tensor, inverse: Tensor, groups: int, size: int) -> Tensor:
    """Return the error that removing each group would add: [groups]."""
    inputs = groups * size
    if size == 1:
        return w[:, :inputs].square().sum(dim=0) / inverse.diagonal()[:inputs]
    blocks = inverse[:inputs, :inputs].unflatten(0, (groups, size)).unflatten(2, (groups, size))
    blocks = blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    parts = w[:, :inputs].unflatten(1, (groups, size)).permute(1, 2, 0)  # [groups, size, O]
    return (parts * torch.linalg.solve(blocks, parts)).sum(dim=(1, 2))


def compensated(weight: Tensor, hessian: Tensor, kept: Tensor) -> Tensor:
    """Return the least-squares weights of the kept inputs, W H[:, K] H[K, K]^-1: [O, K], double precision."""
    return torch.linalg.solve(hessian[kept][:, kept], hessian[kept] @ weight.double().T).T
