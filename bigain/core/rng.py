"""Random generators keyed by (seed, purpose, item id).

No draw uses a global generator, so results do not depend on batch size, shard count, order, resume, or what another
method drew before. torch and numpy are imported only when a generator is needed.
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
    """Return a 63-bit seed for a key such as `(seed, "noise", image, t, repetition)`.

    The key is hashed as JSON, so `(1, "2")` and `("1", 2)` differ, and the seed is the same on every machine.
    """
    text = json.dumps(key, separators=(",", ":"))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def is_for_fitting(image: int) -> bool:
    """Return whether an image is in the half on which weights over t are fitted, the same half in every run."""
    return seed_for(0, "timestep weights", image) % 2 == 0


def torch_generator(*key: Key) -> torch.Generator:
    """Return torch's CPU generator for a key; draw on the CPU and move, so that all devices see the same numbers."""
    import torch

    return torch.Generator().manual_seed(seed_for(*key))


def numpy_generator(*key: Key) -> np.random.Generator:
    """Return numpy's PCG64 generator for a key."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(seed_for(*key)))
