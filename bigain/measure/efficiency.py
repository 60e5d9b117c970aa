"""FLOPs and seconds of a forward pass, for every method and strength of a study on one backbone (Table 11).

FLOPs are counted on the meta device at batch 1, as the paper counts. Seconds are measured on this machine, in rounds in
which every arm takes its turn, so that other load meets all of them alike. The speed-up of an arm is the median over
rounds of the uncompressed model's seconds divided by its own. Everything is timed with SDPA and with vanilla attention.
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
from bigain.compression.targets import family_of
from bigain.compression.token_attachment import TokenAttachment
from bigain.measure.flops import Flops, architecture, count, prompt_tokens
from bigain.measure.vanilla import attention_layers, vanilla_attention
from bigain.methods.ids import method_of, strength_of
from bigain.methods.options import Options, Sites


@dataclass(frozen=True)
class Arm:
    """A method at a strength; a structural method with the file of its calibration."""

    method: str
    strength: float | int | None
    calibration: str | None = None

    def on(self, denoiser: ModelMixin, sites: Sites) -> AbstractContextManager[Attachment]:
        """Apply the method to a model for the length of a with block; `sites` say where token methods act."""
        if self.calibration is not None:
            return compressed(denoiser, self.method, calibration=self.calibration)
        return compressed(denoiser, self.method, **strength_of(self.method, self.strength), **sites)


UNCOMPRESSED = Arm("none", None)


def device_name(device: torch.device) -> str:
    """Return the name of a device, with the number of threads of a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def measure(
    backbone: Backbone, arms: list[Arm], sites: Sites, batch: int, rounds: int
) -> list[dict[str, str | float | int | None]]:
    """Count and time a forward pass under every arm: one row per arm, the first the uncompressed model.

    `sites` are options of `compressed`. Columns: total GFLOPs, percent saved, GFLOPs of self-attention and of planning,
    the fraction of keys and values that is left out; seconds per batch and speed-up with SDPA, then with vanilla
    attention (null for SD3 and FLUX, where it cannot be exchanged). For structural methods all are means over the
    timesteps of their calibration, and parts are not counted. Where operations depend on the image (`~rule-quantile`)
    they are null.
    """
    fused = _seconds(backbone, arms, sites, batch, rounds, vanilla=False)
    exchangeable = bool(attention_layers(backbone.denoiser))
    vanilla = _seconds(backbone, arms, sites, batch, rounds, vanilla=True) if exchangeable else None
    model = architecture(str(backbone.path))
    side = backbone.latent_shape[-1] if family_of(model) == "flux" else None  # whose config has no sample size
    tokens = prompt_tokens(str(backbone.path), model)
    uncompressed = count(model, "none", side, tokens)
    return [
        {
            "method": arm.method,
            "strength": arm.strength,
            **_operations(model, arm, uncompressed, sites, side, tokens),
            **_timing(fused, arm, ""),
            **_timing(vanilla, arm, "_vanilla"),
            "batch": batch,
            "device": device_name(backbone.device),
        }
        for arm in arms
    ]


def _timing(rounds: list[dict[Arm, float]] | None, arm: Arm, kind: str) -> dict[str, float | None]:
    """Return the columns of one arm: medians over rounds."""
    if rounds is None:
        return {f"seconds{kind}": None, f"speedup{kind}": None}
    return {
        f"seconds{kind}": statistics.median(seconds[arm] for seconds in rounds),
        f"speedup{kind}": statistics.median(seconds[UNCOMPRESSED] / seconds[arm] for seconds in rounds),
    }


def _operations(
    model: ModelMixin, arm: Arm, uncompressed: Flops, sites: Sites, side: int | None, tokens: int | None
) -> dict[str, float | None]:
    if arm.calibration is not None:
        saved = Calibration.load(arm.calibration, arm.method).about["reached_percent"]
        parts = dict.fromkeys(("self_attention_gflops", "planning_gflops", "sparsity"))
        return {"gflops": uncompressed.total * (1 - saved / 100) / 1e9, "saved_percent": saved, **parts}
    if method_of(arm.method).depends_on_image:
        return dict.fromkeys(("gflops", "saved_percent", "self_attention_gflops", "planning_gflops", "sparsity"))
    options: Options = {"levels": sites["levels"], "blocks": sites["blocks"], **strength_of(arm.method, arm.strength)}
    flops = count(model, arm.method, side, tokens, **options)
    return {
        "gflops": flops.total / 1e9,
        "saved_percent": 100 * (1 - flops.total / uncompressed.total),
        "self_attention_gflops": flops.self_attention / 1e9,
        "planning_gflops": flops.planning / 1e9,
        "sparsity": flops.sparsity,
    }


def _seconds(
    backbone: Backbone, arms: list[Arm], sites: Sites, batch: int, rounds: int, vanilla: bool
) -> list[dict[Arm, float]]:
    """Time every arm in each round."""
    x = torch.randn(batch, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))
    condition = backbone.to_device(backbone.null_condition())
    condition = condition.expand(batch, *condition.shape[1:])
    x = x.to(backbone.device, backbone.dtype)

    def time_arms() -> dict[Arm, float]:
        return {arm: _timed(backbone, arm, sites, x, condition) for arm in arms}

    with vanilla_attention(backbone.denoiser) if vanilla else nullcontext():
        time_arms()  # warm-up
        return [time_arms() for _ in trange(rounds, desc="rounds")]


@torch.inference_mode()
def _timed(backbone: Backbone, arm: Arm, sites: Sites, x: Tensor, condition: Tensor) -> float:
    """Return the seconds of a forward pass, averaged over the timesteps that the method is calibrated for."""
    mean = 0.0
    with arm.on(backbone.denoiser, sites) as attachment:
        if isinstance(attachment, TokenAttachment) and attachment.method.needs_guidance:
            attachment.give_guidance(x)  # any numbers: operations do not depend on them
        for timestep, share in attachment.visits():
            t = torch.full((len(x),), timestep, device=backbone.device)
            _synchronize(backbone.device)
            began = time.perf_counter()
            backbone.predict_noise(x, t, condition)
            _synchronize(backbone.device)
            mean += share * (time.perf_counter() - began)
    return mean


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
