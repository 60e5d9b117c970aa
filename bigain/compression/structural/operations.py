"""Operations of a denoiser by module, counted by torch on the meta device (2 per multiply-accumulate)."""

from __future__ import annotations

import copy
from typing import Any

import torch
from diffusers import ModelMixin
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bigain.compression.targets import family_of

FLUX_SIDE = 128  # of a latent at 1,024 pixels, FluxPipeline's default


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
def forward(model: ModelMixin, condition: Tensor, side: int | None = None) -> None:
    """Run a model on the meta device at batch 1, with a condition of the shape of `condition`'s first row: a prompt's
    embeddings, or a class. `side` is that of square latents, by default the model's own."""
    size = latent_side(model) if side is None else side
    height, width = (size, size) if isinstance(size, int) else size
    x = torch.empty(1, model.config.in_channels, height, width, device="meta", dtype=model.dtype)
    t = torch.full((1,), 500, device="meta")
    dtype = model.dtype if condition.is_floating_point() else condition.dtype
    condition = torch.empty_like(condition[:1], device="meta", dtype=dtype)
    match family_of(model):
        case "unet":
            model(x, t, encoder_hidden_states=condition)
        case "dit":
            model(x, timestep=t, class_labels=condition)
        case "mmdit":
            model(x, encoder_hidden_states=condition, pooled_projections=_pooled(model), timestep=t)
        case "flux":
            model(
                hidden_states=x.unfold(2, 2, 2).unfold(3, 2, 2)[..., 0, 0].flatten(2).transpose(1, 2),
                encoder_hidden_states=condition,
                pooled_projections=_pooled(model),
                timestep=t.to(model.dtype),
                img_ids=torch.empty((height // 2) * (width // 2), 3, device="meta"),
                txt_ids=torch.empty(condition.shape[1], 3, device="meta"),
                guidance=t.to(model.dtype) if model.config.guidance_embeds else None,
            )


def latent_side(model: ModelMixin) -> Any:
    """Return the side, or height and width, of a model's latents; FLUX's config has none, so FluxPipeline's 128."""
    return FLUX_SIDE if family_of(model) == "flux" else model.config.sample_size


def _pooled(model: ModelMixin) -> Tensor:
    return torch.empty(1, model.config.pooled_projection_dim, device="meta", dtype=model.dtype)


def by_module(model: ModelMixin, condition: Tensor) -> dict[str, int]:
    """Count the operations of a forward pass on the meta device by module name; `""` is the whole model."""
    with FlopCounterMode(display=False) as counter:
        forward(model, condition)
    top = type(model).__name__
    counts = {name: sum(by_operator.values()) for name, by_operator in counter.get_flop_counts().items()}
    return {name.removeprefix(top).removeprefix("."): n for name, n in counts.items() if name.startswith(top)}
