"""Random numbers as a hash (SplitMix64) of a row's seed and a place: equal on every device, in any batch, compiled.

A `torch.Generator` would need the CPU, one object per row and a graph break.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed number; int64 arithmetic wraps around
INVERSE = pow(GOLDEN, -1, 2**64) - 2**64  # of GOLDEN modulo 2^64, as a signed number
FIRST, SECOND = -4658895280553007687, -7723592293110705685  # SplitMix64's multipliers


def _shifted(z: Tensor, bits: int) -> Tensor:
    """Shift right, filling with zeros."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def mixed(z: Tensor) -> Tensor:
    """Apply SplitMix64's finaliser, bit for bit: int64 -> int64."""
    z = (z ^ _shifted(z, 30)) * FIRST
    z = (z ^ _shifted(z, 27)) * SECOND
    return z ^ _shifted(z, 31)


def bits(seeds: Tensor, salt: int, count: int, skip: int = 0) -> Tensor:
    """Draw `count` integers below 2^31 for every seed, after the first `skip`: seeds [B] int64 -> [B, count] int64.

    `salt` keys the purpose of the draw.
    """
    # The state is mixed(seed ^ salt) + place * GOLDEN, factored because inductor computes an arange times a constant in
    # integers that do not wrap around.
    places = torch.arange(skip + 1, skip + count + 1, device=seeds.device)
    states = ((mixed(seeds ^ salt) * INVERSE).unsqueeze(1) + places) * GOLDEN
    return _shifted(mixed(states), 33)


def uniform_places(seeds: Tensor, salt: int, count: int, size: int) -> Tensor:
    """Draw integers below `size`, uniformly: seeds [B] -> [B, count]."""
    return bits(seeds, salt, count) % size


def normals(seeds: Tensor, salt: int, count: int) -> Tensor:
    """Draw standard normal numbers (Box-Muller) in float32: seeds [B] -> [B, count]."""
    first, second = ((bits(seeds, salt, count, skip).float() + 0.5).div(2**31) for skip in (0, count))
    return (-2 * first.log()).sqrt() * (2 * math.pi * second).cos()
