"""Operations of a denoiser by module, counted by torch on the meta device (2 per multiply-accumulate)."""

from __future__ import annotations

import copy

import torch
from diffusers import ModelMixin
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bigain.compression.targets import family_of


def check_family(model: ModelMixin) -> None:
    """Raise ValueError for a model that structural methods have not been adapted to."""
    if family_of(model) not in ("unet", "dit"):
        raise ValueError(
            f"{type(model).__name__}: dip_go and mosaicdiff change U-Nets and DiTs only; joint attention of text and "
            "image takes the methods that act on tokens, or keys and values"
        )


def on_meta(model: ModelMixin) -> ModelMixin:
    """Copy a model without its weights."""
    return copy.deepcopy(model).to("meta")


@torch.no_grad()
def forward(model: ModelMixin, condition: Tensor) -> None:
    """Run a model on the meta device at batch 1, with a condition of the shape of `condition`'s first row."""
    size = model.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    x = torch.empty(1, model.config.in_channels, height, width, device="meta", dtype=model.dtype)
    t = torch.full((1,), 500, device="meta")
    dtype = model.dtype if condition.is_floating_point() else condition.dtype
    condition = torch.empty_like(condition[:1], device="meta", dtype=dtype)
    if family_of(model) == "unet":
        model(x, t, encoder_hidden_states=condition)
    else:
        model(x, timestep=t, class_labels=condition)


def by_module(model: ModelMixin, condition: Tensor) -> dict[str, int]:
    """Count the operations of a forward pass on the meta device by module name; `""` is the whole model."""
    with FlopCounterMode(display=False) as counter:
        forward(model, condition)
    top = type(model).__name__
    counts = {name: sum(by_operator.values()) for name, by_operator in counter.get_flop_counts().items()}
    return {name.removeprefix(top).removeprefix("."): n for name, n in counts.items() if name.startswith(top)}
