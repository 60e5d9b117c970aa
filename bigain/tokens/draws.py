"""Random numbers as a function of a row's seed and a place: the same on every device, in any batch, under compile.

A generator would need the CPU, an object a row and a graph break; here every number is a hash (SplitMix64) of its key.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed number; int64 arithmetic wraps around
INVERSE = pow(GOLDEN, -1, 2**64) - 2**64  # of GOLDEN modulo 2^64, as a signed number
FIRST, SECOND = -4658895280553007687, -7723592293110705685  # SplitMix64's multipliers


def _shifted(z: Tensor, bits: int) -> Tensor:
    """Shift right without the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def mixed(z: Tensor) -> Tensor:
    """SplitMix64's finaliser, bit for bit: int64 -> int64."""
    z = (z ^ _shifted(z, 30)) * FIRST
    z = (z ^ _shifted(z, 27)) * SECOND
    return z ^ _shifted(z, 31)


def bits(seeds: Tensor, salt: int, count: int, skip: int = 0) -> Tensor:
    """`count` numbers below 2^31 for every seed: seeds [B] int64 -> [B, count] int64, after the first `skip`.

    `salt` says what they are for.
    """
    # the state is mixed(seed ^ salt) + place * GOLDEN; factored, because inductor computes an arange times a constant
    # in whole numbers that do not wrap around
    places = torch.arange(skip + 1, skip + count + 1, device=seeds.device)
    states = ((mixed(seeds ^ salt) * INVERSE).unsqueeze(1) + places) * GOLDEN
    return _shifted(mixed(states), 33)


def uniform_places(seeds: Tensor, salt: int, count: int, size: int) -> Tensor:
    """Whole numbers below `size`, equally likely: seeds [B] -> [B, count]."""
    return bits(seeds, salt, count) % size


def normals(seeds: Tensor, salt: int, count: int) -> Tensor:
    """Standard normal numbers (Box-Muller), float32: seeds [B] -> [B, count]."""
    first, second = ((bits(seeds, salt, count, skip).float() + 0.5).div(2**31) for skip in (0, count))
    return (-2 * first.log()).sqrt() * (2 * math.pi * second).cos()
