"""What a spec names, for all model jobs: the backbone on its device, and where a method acts on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from bigain import backbones
from bigain.backbones.base import Backbone
from bigain.files import whole_file
from bigain.records import canonical

Spec = dict[str, Any]


def backbone_of(spec: Spec) -> Backbone:
    """The backbone that a spec names, on its device."""
    settings = spec["backbone"]
    return backbones.load(settings["family"], settings["path"], device_of(settings["device"]), settings["dtype"])


def sites_of(spec: Spec) -> dict[str, Any]:
    """Where a method acts, as `compressed` takes it."""
    settings = spec["backbone"]
    places = {name: _tuple(settings.get(name)) for name in ("levels", "blocks")}
    return {**places, "metric_site": settings.get("metric_site")}


def _tuple(value: list[int] | None) -> tuple[int, ...] | None:
    return None if value is None else tuple(value)


def device_of(name: str) -> str:
    """`auto` is the GPU if there is one."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def save_tensors(path: Path, tensors: dict[str, Tensor], spec: Spec) -> None:
    """Write tensors whole or not at all, with the spec that made them."""
    with whole_file(path) as temporary:
        save_file({name: t.contiguous() for name, t in tensors.items()}, temporary, {"spec": canonical(spec)})


def to_float(images: np.ndarray) -> Tensor:
    """uint8 [n, C, H, W] -> float32 in [0, 1]."""
    return torch.from_numpy(images).float() / 255
