"""Run feed-forward layers on a CPU in chunks of rows, so that the widened tokens stay in the cache.

A feed-forward layer makes every token several times as wide. For a whole batch that is more than a cache holds, so each
of the layer's steps would write it to memory and read it back. Chunking is diffusers' own (`set_chunk_feed_forward`);
results are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from diffusers import ModelMixin
from diffusers.models.attention import BasicTransformerBlock, JointTransformerBlock

from bigain.compression.attachment import Attachment
from bigain.compression.targets import Block, blocks_of, family_of, is_supported

CACHE_BYTES = 2**21  # of the widest tensor of a chunk: about the second-level cache of a core


@contextmanager
def chunked_feed_forward(denoiser: ModelMixin, rows: int, attachment: Attachment) -> Iterator[None]:
    """Chunk the feed-forward layers of a denoiser on a CPU for batches of `rows`, while the context is open.

    Not chunked are layers of which a single row is too wide, layers around which tokens are merged (a plan is for all
    rows of a batch), and all layers under methods that change the model.
    """
    with ExitStack() as restore:
        for block, chunk_size in _chunk_sizes(denoiser, rows, attachment):
            restore.callback(block.set_chunk_feed_forward, block._chunk_size, block._chunk_dim)
            block.set_chunk_feed_forward(chunk_size, 0)
        yield


def _chunk_sizes(
    denoiser: ModelMixin, rows: int, attachment: Attachment
) -> Iterator[tuple[BasicTransformerBlock | JointTransformerBlock, int]]:
    """Yield the blocks whose feed-forward layer is chunked, with the rows of a chunk."""
    known = is_supported(denoiser) and family_of(denoiser) != "flux"  # whose blocks cannot chunk
    if not known or attachment.method.acts_on == "model" or denoiser.device.type != "cpu":
        return
    merged = [site.block.module for site in attachment.sites] if "mlp" in attachment.method.layers else []
    for block in blocks_of(denoiser):
        chunk_size = rows_per_chunk(block, rows)
        if chunk_size is not None and block.module not in merged:
            yield block.module, chunk_size


def rows_per_chunk(block: Block, rows: int) -> int | None:
    """Return the largest divisor of `rows` whose widened tokens fit into `CACHE_BYTES`; None if no row fits."""
    row_bytes = _widened_token_bytes(block.module) * block.grid.tokens
    fitting = [size for size in range(1, rows + 1) if rows % size == 0 and size * row_bytes <= CACHE_BYTES]
    return max(fitting, default=None)


def _widened_token_bytes(block: BasicTransformerBlock | JointTransformerBlock) -> int:
    """Return the size of a token after the first projection of a block's feed-forward layer."""
    weight = block.ff.net[0].proj.weight
    return weight.shape[0] * weight.element_size()
