"""Operations of a denoiser's parts, counted with torch's counter on the meta device (2 per multiply-accumulate)."""

from __future__ import annotations

import copy

import torch
from diffusers import ModelMixin
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bigain.compression.targets import family_of


def on_meta(model: ModelMixin) -> ModelMixin:
    """A copy of the model without its weights."""
    return copy.deepcopy(model).to("meta")


@torch.no_grad()
def forward(model: ModelMixin, condition: Tensor) -> None:
    """One forward pass at batch 1 of a model on the meta device, under a condition like `condition`'s first row."""
    size = model.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    x = torch.empty(1, model.config.in_channels, height, width, device="meta", dtype=model.dtype)
    t = torch.full((1,), 500, device="meta")
    given = model.dtype if condition.is_floating_point() else condition.dtype
    condition = torch.empty_like(condition[:1], device="meta", dtype=given)
    if family_of(model) == "unet":
        model(x, t, encoder_hidden_states=condition)
    else:
        model(x, timestep=t, class_labels=condition)


def by_module(model: ModelMixin, condition: Tensor) -> dict[str, int]:
    """Operations of one forward pass of a model on the meta device, by module name; `""` is the whole model."""
    with FlopCounterMode(display=False) as counter:
        forward(model, condition)
    top = type(model).__name__
    counts = {name: sum(operations.values()) for name, operations in counter.get_flop_counts().items()}
    return {name.removeprefix(top).removeprefix("."): n for name, n in counts.items() if name.startswith(top)}
