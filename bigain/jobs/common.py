"""What a spec names, for all model jobs: the backbone on its device, and where a method acts on it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from bigain import backbones
from bigain.backbones.base import Backbone
from bigain.core.files import whole_file
from bigain.core.places import located
from bigain.core.records import canonical
from bigain.methods.ids import method_of
from bigain.methods.options import Sites

Spec = dict[str, Any]


def backbone_of(spec: Spec) -> Backbone:
    """The backbone that a spec names, on its device."""
    settings = spec["backbone"]
    return backbones.load(
        settings["family"], located(settings["path"]), device_of(settings["device"]), settings["dtype"]
    )


def compile_denoiser(spec: Spec, backbone: Backbone) -> dict[str, str]:
    """Compile the denoiser if the spec says so, and note what was done, for the provenance.

    Where torch.compile finds no compiler, and under a method that changes the model from step to step, the denoiser
    runs as it is, and the note says why.
    """
    mode = spec["backbone"]["compile"]
    if mode == "off":
        return {}
    if method_of(spec["method"]).acts_on == "model":
        return {"compile": f"off: {spec['method']} changes the model"}
    missing = missing_compiler(backbone.device)
    if missing:
        return {"compile": f"off: {missing}"}
    backbone.denoiser.compile(mode=mode, dynamic=False)
    return {"compile": mode}


def missing_compiler(device: torch.device) -> str | None:
    """What torch.compile lacks on a device: Triton on a GPU, a C++ compiler on the CPU."""
    if device.type == "cuda":
        return None if importlib.util.find_spec("triton") else "no Triton"
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "no C++ compiler"
    return None


def sites_of(spec: Spec) -> Sites:
    """Return where a method acts, as options of `compressed`."""
    settings = spec["backbone"]
    return {
        "levels": _tuple(settings.get("levels")),
        "blocks": _tuple(settings.get("blocks")),
        "metric_site": settings.get("metric_site"),
    }


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
