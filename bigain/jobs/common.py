"""Shared by all model jobs: load the backbone of a spec, compile it, and write files with their provenance."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from bigain import backbones
from bigain.backbones import devices
from bigain.backbones.base import Backbone
from bigain.backbones.devices import device_of
from bigain.core.files import whole_file
from bigain.core.places import located
from bigain.core.provenance import InputFile, write_provenance
from bigain.core.records import canonical, environment
from bigain.core.specs import BackboneSpec, CellJobSpec
from bigain.methods.ids import method_of
from bigain.methods.options import Sites
from bigain.tokens import kernels


def backbone_of(spec: BackboneSpec) -> Backbone:
    """Return the backbone of a spec, on its device."""
    return backbones.load(spec["family"], located(spec["path"]), device_of(spec["device"]), spec["dtype"])


def compile_denoiser(spec: CellJobSpec, backbone: Backbone) -> dict[str, Any]:
    """Compile the denoiser if the spec says so, and return a note for the provenance.

    It stays uncompiled if torch.compile finds no compiler, or under a method that changes the model from step to step;
    the note says why.
    """
    mode = spec["backbone"]["compile"]
    if mode == "off":
        return {}
    missing = devices.no_compilation(backbone.device, method_of(spec["method"]))
    if missing:
        return {"compile": f"off: {missing}"}
    devices.compile_denoiser(backbone, mode)
    return {"compile": mode}


def sites_of(spec: BackboneSpec) -> Sites:
    """Return where a token method acts, as options of `compressed`."""
    return {
        "levels": _tuple(spec.get("levels")),
        "blocks": _tuple(spec.get("blocks")),
        "metric_site": spec.get("metric_site"),
    }


def _tuple(value: list[int] | None) -> tuple[int, ...] | None:
    return None if value is None else tuple(value)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], spec: Mapping[str, Any]) -> None:
    """Write tensors as safetensors, whole or not at all, with the spec that made them in the metadata."""
    with whole_file(path) as temporary:
        save_file({name: t.contiguous() for name, t in tensors.items()}, temporary, {"spec": canonical(spec)})


class Stopwatch:
    """Times a job, and writes the provenance of its output with that time and the job's environment."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def write_provenance(
        self,
        output: Path,
        spec: Mapping[str, Any],
        inputs: Mapping[str, InputFile],
        device: torch.device | str,
        **facts: Any,
    ) -> None:
        """Write the provenance of the output, with further facts."""
        seconds, environments = time.monotonic() - self.began, [environment_of(torch.device(device))]
        write_provenance(output, spec, inputs, seconds=seconds, environments=environments, **facts)


def environment_of(device: torch.device) -> dict[str, Any]:
    """Return the environment of a job: versions, machine, device, the instructions that CPU kernels use, threads."""
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else str(device)
    settings = {"device": name, "cpu": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads()}
    return {**environment(), **settings, **token_kernels(device)}


def token_kernels(device: torch.device) -> dict[str, str]:
    """Return what computes the token operators on a GPU, as far as is known by now; nothing on a CPU."""
    return {"kernels": kernels.described(device)} if device.type == "cuda" else {}
