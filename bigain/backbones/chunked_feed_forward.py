"""On a CPU, feed-forward layers a few rows at a time: what they widen stays in the cache; the numbers are the same.

A feed-forward layer makes every token several times as wide. Of a whole batch that is more than a cache holds, so it
would be written to memory and read back by each of the layer's steps. The rows of a part are diffusers' own switch
(`set_chunk_feed_forward`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from diffusers import ModelMixin
from diffusers.models.attention import BasicTransformerBlock

from bigain.compression.attachment import Attachment
from bigain.compression.targets import SUPPORTED, Block, blocks_of

CACHE = 2**21  # bytes of the widest tensor of a part: what a core's second-level cache holds, or a little more


@contextmanager
def feed_forward_in_parts(denoiser: ModelMixin, rows: int, at: Attachment) -> Iterator[None]:
    """While it is open, feed-forward layers of a denoiser on a CPU take a batch of so many rows part by part.

    Whole stay layers of which a single row is too wide, those around which `at` merges tokens (its plan is for all
    rows), and all under methods that change the model.
    """
    with ExitStack() as undo:
        for block, part in _parts(denoiser, rows, at):
            undo.callback(block.set_chunk_feed_forward, block._chunk_size, block._chunk_dim)
            block.set_chunk_feed_forward(part, 0)
        yield


def _parts(denoiser: ModelMixin, rows: int, at: Attachment) -> Iterator[tuple[BasicTransformerBlock, int]]:
    """The blocks whose feed-forward layer takes parts, and the rows of a part."""
    known = isinstance(denoiser, SUPPORTED) and at.method.acts_on != "model"
    if not known or denoiser.device.type != "cpu":
        return
    merged = [site.block.module for site in at.sites] if "mlp" in at.method.layers else []
    for block in blocks_of(denoiser):
        part = rows_together(block, rows)
        if part is not None and block.module not in merged:
            yield block.module, part


def rows_together(block: Block, rows: int) -> int | None:
    """The largest divisor of a batch's rows whose widened tokens fit into `CACHE`; None if not one row's do."""
    widest = _widened(block.module) * block.grid.tokens
    fitting = [part for part in range(1, rows + 1) if rows % part == 0 and part * widest <= CACHE]
    return max(fitting, default=None)


def _widened(block: BasicTransformerBlock) -> int:
    """Bytes of one token behind the first projection of a block's feed-forward layer."""
    weight = block.ff.net[0].proj.weight
    return weight.shape[0] * weight.element_size()
