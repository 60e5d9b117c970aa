"""Vanilla attention, which holds all N x N scores: the baseline of most published speed-ups of token compression."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import nn


def attention_layers(model: nn.Module) -> list[Attention]:
    """Return the attention layers of a U-Net or DiT; SD3 and FLUX, whose attention is joint, have none of this kind."""
    layers = [module for module in model.modules() if isinstance(module, Attention)]
    return [] if any(layer.added_kv_proj_dim is not None for layer in layers) else layers


@contextmanager
def vanilla_attention(model: nn.Module) -> Iterator[None]:
    """Hold all N x N scores in every attention layer while the context is open."""
    layers = attention_layers(model)
    processors = [layer.processor for layer in layers]
    for layer in layers:
        layer.processor = AttnProcessor()
    try:
        yield
    finally:
        for layer, processor in zip(layers, processors, strict=True):
            layer.processor = processor
