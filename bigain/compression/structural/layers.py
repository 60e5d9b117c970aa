"""The prunable layers of a model's transformer blocks: attention by heads, feed-forward by neurons."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from diffusers import ModelMixin
from diffusers.models.activations import GEGLU
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from bigain.compression.structural.operations import check_family
from bigain.compression.targets import blocks_of


@dataclass(frozen=True)
class Layer:
    """An attention or feed-forward layer of a transformer block, whose units are heads or neurons."""

    name: str
    module: Attention | FeedForward
    units: int
    operations: int  # of one unit, in a forward pass of one sample

    @property
    def output(self) -> nn.Linear:
        """The linear layer that reads the units: every unit is `size` of its inputs."""
        return output_of(self.module)

    @property
    def size(self) -> int:
        """Inputs of `output` per unit."""
        return self.output.in_features // self.units


def output_of(module: Attention | FeedForward) -> nn.Linear:
    """Return the linear layer that ends an attention or feed-forward layer."""
    return module.to_out[0] if hasattr(module, "to_out") else module.net[2]


def layers_of(model: ModelMixin, context: int) -> list[Layer]:
    """Return the prunable layers in the order of the forward pass. `context` is the number of tokens of a prompt.

    Raises ValueError for fused projections and for another family than U-Net and DiT.
    """
    check_family(model)
    layers = []
    for block in blocks_of(model):
        tokens = block.grid.tokens
        for name, keys in (("attn1", tokens), ("attn2", context)):
            attention = getattr(block.module, name)
            if attention is None:
                continue
            if getattr(attention, "fused_projections", False):
                raise ValueError(f"{block.name}.{name}: undo fuse_qkv_projections() first")
            layers.append(_attention(f"{block.name}.{name}", attention, tokens, keys))
        layers.append(_feed_forward(f"{block.name}.ff", block.module.ff, tokens))
    return layers


def _attention(name: str, module: Attention, tokens: int, keys: int) -> Layer:
    width = module.to_q.out_features // module.heads
    projected = tokens * (module.to_q.in_features + module.to_out[0].out_features)
    projected += keys * (module.to_k.in_features + module.to_v.in_features)
    return Layer(name, module, module.heads, 2 * width * projected + 4 * tokens * keys * width)


def _feed_forward(name: str, module: FeedForward, tokens: int) -> Layer:
    into, out = module.net[0].proj, module.net[2]
    neurons = out.in_features
    return Layer(
        name, module, neurons, 2 * tokens * (into.in_features * into.out_features // neurons + out.out_features)
    )


def pruned(module: Attention | FeedForward, units: Tensor, weight: Tensor, bias: Tensor | None) -> nn.Module:
    """Return a copy of an attention or feed-forward layer with only the `units` [K] and new output weights."""
    small = copy.deepcopy(module)
    if hasattr(module, "to_out"):
        width = module.to_q.out_features // module.heads
        rows = (units.unsqueeze(1) * width + torch.arange(width, device=units.device)).flatten()
        for name in ("to_q", "to_k", "to_v"):
            setattr(small, name, _rows_of(getattr(module, name), rows))
        small.heads = small.sliceable_head_dim = len(units)
        small.inner_dim = small.inner_kv_dim = len(rows)
        small.to_out[0] = _linear(weight, bias)
        return small
    neurons = module.net[2].in_features
    rows = torch.cat([units, units + neurons]) if isinstance(module.net[0], GEGLU) else units  # value and gate
    small.net[0].proj = _rows_of(module.net[0].proj, rows)
    small.net[2] = _linear(weight, bias)
    return small


def _rows_of(linear: nn.Linear, rows: Tensor) -> nn.Linear:
    rows = rows.to(linear.weight.device)
    return _linear(linear.weight[rows], None if linear.bias is None else linear.bias[rows])


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return linear
