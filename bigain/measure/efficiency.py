"""FLOPs and seconds of a forward pass, for every method and strength of a study on one backbone (Table 11).

FLOPs are counted on the meta device at batch 1, as the paper counts. Seconds are of this machine: rounds in which every
arm takes its turn, so that whatever else the machine does meets all; an arm's speed-up is the median over rounds of the
uncompressed model's seconds in that round through its own.
"""

from __future__ import annotations

import platform
import statistics
import time
from typing import Any

import torch
from torch import Tensor
from tqdm import trange

from bigain.backbones.base import Backbone
from bigain.measure.flops import architecture, count
from bigain.patching import compressed
from bigain.variants import strength_of

Arm = tuple[str, float | int | None]


def device_name(device: torch.device) -> str:
    """What the seconds belong to."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def measure(
    backbone: Backbone, arms: list[Arm], sites: dict[str, Any], batch: int, rounds: int
) -> list[dict[str, str | float | int | None]]:
    """One row an arm (method, strength), the first of which is the uncompressed model.

    `sites` are keywords of `compressed` that say where a method acts. Columns: GFLOPs in all, saved in percent, of
    self-attention, of planning; the share of keys and values done without; seconds of a batch and the speed-up.
    """
    seconds = _seconds(backbone, arms, sites, batch, rounds)
    model = architecture(str(backbone.path))
    plain = count(model, "none")
    rows = []
    for method, strength in arms:
        flops = count(model, method, **strength_of(method, strength), **_places(sites))
        rows.append(
            {
                "method": method,
                "strength": strength,
                "gflops": flops.total / 1e9,
                "saved_percent": 100 * (1 - flops.total / plain.total),
                "self_attention_gflops": flops.self_attention / 1e9,
                "planning_gflops": flops.planning / 1e9,
                "sparsity": flops.sparsity,
                "seconds": statistics.median(one[method, strength] for one in seconds),
                "speedup": statistics.median(one["none", None] / one[method, strength] for one in seconds),
                "batch": batch,
                "device": device_name(backbone.device),
            }
        )
    return rows


def _places(sites: dict[str, Any]) -> dict[str, Any]:
    return {key: sites[key] for key in ("levels", "blocks")}


def _seconds(
    backbone: Backbone, arms: list[Arm], sites: dict[str, Any], batch: int, rounds: int
) -> list[dict[Arm, float]]:
    x = torch.randn(batch, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))
    condition = backbone.null_condition()
    condition = condition.to(backbone.dtype) if condition.is_floating_point() else condition
    condition = condition.expand(batch, *condition.shape[1:]).to(backbone.device)
    x = x.to(backbone.device, backbone.dtype)
    t = torch.full((batch,), 500, device=backbone.device)

    def one_round() -> dict[Arm, float]:
        return {arm: _timed(backbone, arm, sites, x, t, condition) for arm in arms}

    one_round()  # warm-up
    return [one_round() for _ in trange(rounds, desc="rounds")]


@torch.inference_mode()
def _timed(backbone: Backbone, arm: Arm, sites: dict[str, Any], x: Tensor, t: Tensor, condition: Tensor) -> float:
    with compressed(backbone.denoiser, arm[0], **strength_of(*arm), **sites):
        _wait(backbone.device)
        began = time.perf_counter()
        backbone.predict_noise(x, t, condition)
        _wait(backbone.device)
        return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
