"""Vanilla attention, which holds all N x N scores: what most published speed-ups of token compression are over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import nn


def attention_layers(model: nn.Module) -> list[Attention]:
    """The layers that `vanilla_attention` knows: those of U-Nets and DiTs, none of a Flux."""
    return [module for module in model.modules() if isinstance(module, Attention)]


@contextmanager
def vanilla_attention(model: nn.Module) -> Iterator[None]:
    """Softmax of all N x N scores, held in memory, in every attention layer; afterwards what was there before."""
    layers = attention_layers(model)
    before = [layer.processor for layer in layers]
    for layer in layers:
        layer.processor = AttnProcessor()
    try:
        yield
    finally:
        for layer, processor in zip(layers, before, strict=True):
            layer.processor = processor
