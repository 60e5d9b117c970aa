"""Keys for everything random: each draw comes from a generator keyed by (seed, purpose, item id).

No draw touches a global generator, so results depend neither on batch size, shard count, order or resume, nor on
what another method drew before. torch and numpy are imported only when a generator is asked for.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

Key = int | float | str


def seed_for(*key: Key) -> int:
    """A 63-bit seed for a key such as `(seed, "noise", image, t, repetition)`.

    The key is hashed as JSON, so `(1, "2")` and `("1", 2)` differ, and stays the same on every machine and version.
    """
    text = json.dumps(key, separators=(",", ":"))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def torch_generator(*key: Key) -> torch.Generator:
    """A CPU generator for one key; draw on the CPU and move, so that every device sees the same numbers."""
    import torch

    return torch.Generator().manual_seed(seed_for(*key))


def numpy_generator(*key: Key) -> np.random.Generator:
    """A numpy generator for one key (PCG64)."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(seed_for(*key)))
