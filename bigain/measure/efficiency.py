"""FLOPs and seconds of a forward pass, for every method and strength of a study on one backbone (Table 11).

FLOPs are counted on the meta device at batch 1, as the paper counts. Seconds are of this machine: rounds in which every
arm takes its turn, so that whatever else the machine does meets all; an arm's speed-up is the median over rounds of the
uncompressed model's seconds in that round through its own. All are timed with SDPA and with vanilla attention, each
beside the uncompressed model with the same.
"""

from __future__ import annotations

import platform
import statistics
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from diffusers import ModelMixin
from torch import Tensor
from tqdm import trange

from bigain.backbones.base import Backbone
from bigain.compression.attach import compressed
from bigain.compression.attachment import Attachment
from bigain.compression.structural import Calibration
from bigain.measure.flops import Flops, architecture, count
from bigain.measure.vanilla import attention_layers, vanilla_attention
from bigain.methods.ids import method_of, strength_of
from bigain.methods.options import Sites


@dataclass(frozen=True)
class Arm:
    """A method at a strength; a structural one with its calibration's file."""

    method: str
    strength: float | int | None
    calibration: str | None = None

    def on(self, denoiser: ModelMixin, sites: Sites) -> AbstractContextManager[Attachment]:
        """The context in which the method is on a model; `sites` say where token methods act."""
        if self.calibration is not None:
            return compressed(denoiser, self.method, calibration=self.calibration)
        return compressed(denoiser, self.method, **strength_of(self.method, self.strength), **sites)


PLAIN = Arm("none", None)


def device_name(device: torch.device) -> str:
    """What the seconds belong to."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def measure(
    backbone: Backbone, arms: list[Arm], sites: Sites, batch: int, rounds: int
) -> list[dict[str, str | float | int | None]]:
    """One row an arm, the first of which is the uncompressed model.

    `sites` are keywords of `compressed` that say where a method acts. Columns: GFLOPs in all, saved in percent, of
    self-attention, of planning; the share of keys and values done without; seconds of a batch and the speed-up
    with SDPA, then with vanilla attention (missing for a model whose attention is none that we can exchange). Of
    structural methods all are means over the timesteps they are calibrated for; parts of them are not counted. Where
    operations depend on the image (`~rule-quantile`) they are missing.
    """
    fused = _seconds(backbone, arms, sites, batch, rounds, vanilla=False)
    exchangeable = bool(attention_layers(backbone.denoiser))
    vanilla = _seconds(backbone, arms, sites, batch, rounds, vanilla=True) if exchangeable else None
    model = architecture(str(backbone.path))
    plain = count(model, "none")
    return [
        {
            "method": arm.method,
            "strength": arm.strength,
            **_operations(model, arm, plain, sites),
            **_timing(fused, arm, ""),
            **_timing(vanilla, arm, "_vanilla"),
            "batch": batch,
            "device": device_name(backbone.device),
        }
        for arm in arms
    ]


def _timing(rounds: list[dict[Arm, float]] | None, arm: Arm, kind: str) -> dict[str, float | None]:
    if rounds is None:
        return {f"seconds{kind}": None, f"speedup{kind}": None}
    return {
        f"seconds{kind}": statistics.median(one[arm] for one in rounds),
        f"speedup{kind}": statistics.median(one[PLAIN] / one[arm] for one in rounds),
    }


def _operations(model: ModelMixin, arm: Arm, plain: Flops, sites: Sites) -> dict[str, float | None]:
    if arm.calibration is not None:
        saved = Calibration.load(arm.calibration, arm.method).about["reached_percent"]
        parts = dict.fromkeys(("self_attention_gflops", "planning_gflops", "sparsity"))
        return {"gflops": plain.total * (1 - saved / 100) / 1e9, "saved_percent": saved, **parts}
    if method_of(arm.method).depends_on_image:
        return dict.fromkeys(("gflops", "saved_percent", "self_attention_gflops", "planning_gflops", "sparsity"))
    places: Sites = {"levels": sites["levels"], "blocks": sites["blocks"]}
    flops = count(model, arm.method, **strength_of(arm.method, arm.strength), **places)
    return {
        "gflops": flops.total / 1e9,
        "saved_percent": 100 * (1 - flops.total / plain.total),
        "self_attention_gflops": flops.self_attention / 1e9,
        "planning_gflops": flops.planning / 1e9,
        "sparsity": flops.sparsity,
    }


def _seconds(
    backbone: Backbone, arms: list[Arm], sites: Sites, batch: int, rounds: int, vanilla: bool
) -> list[dict[Arm, float]]:
    x = torch.randn(batch, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))
    condition = backbone.placed(backbone.null_condition())
    condition = condition.expand(batch, *condition.shape[1:])
    x = x.to(backbone.device, backbone.dtype)

    def one_round() -> dict[Arm, float]:
        return {arm: _timed(backbone, arm, sites, x, condition) for arm in arms}

    with vanilla_attention(backbone.denoiser) if vanilla else nullcontext():
        one_round()  # warm-up
        return [one_round() for _ in trange(rounds, desc="rounds")]


@torch.inference_mode()
def _timed(backbone: Backbone, arm: Arm, sites: Sites, x: Tensor, condition: Tensor) -> float:
    """Seconds of a forward pass, averaged over the timesteps that the method is calibrated for, in their order."""
    mean = 0.0
    with arm.on(backbone.denoiser, sites) as at:
        for timestep, share in at.visits():
            t = torch.full((len(x),), timestep, device=backbone.device)
            _wait(backbone.device)
            began = time.perf_counter()
            backbone.predict_noise(x, t, condition)
            _wait(backbone.device)
            mean += share * (time.perf_counter() - began)
    return mean


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
