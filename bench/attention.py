"""Time of a forward pass under every token method, with vanilla attention and with SDPA (Table 11).

Vanilla attention stores all N x N scores, so fewer tokens also save memory traffic. SDPA does not store them and has
less to save. Each row is a speed-up over the uncompressed model with the same attention.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from diffusers import ModelMixin
from torch import Tensor

import bigain
from bench.rounds import ROUNDS, Row, compare
from bigain import backbones
from bigain.backbones.base import Backbone
from bigain.measure.vanilla import vanilla_attention
from bigain.methods.method import Family

MODELS: dict[Family, tuple[str, dict[str, Any]]] = {
    "unet": ("resources/mini-unet", {}),
    "dit": ("resources/mini-dit", {"blocks": (1, 2, 3, 4)}),
}
ARMS: dict[str, dict[str, Any]] = {
    "none": {},
    "tome": {"ratio": 0.7},
    "tome_fixed": {"ratio": 0.7},
    "sito": {"ratio": 0.7},
    "bigain_tm": {"ratio": 0.7},
    "bigain_tm_cached": {"ratio": 0.7},
    "bigain_tm_block": {"ratio": 0.7},
    "avg_pool": {"factor": 2},
    "todo": {"factor": 2},
    "bigain_td": {"factor": 2},
}
BATCH = 8

Attach = Callable[[ModelMixin], object]


def attention(rounds: int = 3 * ROUNDS) -> list[Row]:
    """Time both embedded models under every method with both kinds of attention, and tomesd on the U-Net."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    for family, (path, places) in MODELS.items():
        backbone = backbones.load(family, path, device)
        given = guided(backbone, backbone.null_condition(), BATCH)
        for kind, context in (("vanilla", vanilla_attention), ("SDPA", lambda _: nullcontext())):
            with context(backbone.denoiser):  # kept by the copy of every arm
                runs = {
                    method: forward(backbone, given, ours(method, strength | (places if strength else {})))
                    for method, strength in ARMS.items()
                }
                if family == "unet" and importlib.util.find_spec("tomesd"):
                    runs["tomesd"] = forward(backbone, given, tomesd_07)
            with torch.inference_mode():
                rows += compare(f"{kind} attention", f"mini_{family}, batch {BATCH}", runs, rounds)
    return rows


def guided(
    backbone: Backbone, condition: Tensor, batch: int, size: tuple[int, int] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a batch of x_t, t and one condition for all rows, on the device; `size` overrides the latents'."""
    channels, *model_size = backbone.latent_shape
    x = torch.randn(batch, channels, *(size or model_size), generator=torch.Generator().manual_seed(0))
    condition = backbone.to_device(condition)
    t = torch.full((batch,), 500, device=backbone.device)
    return x.to(backbone.device, backbone.dtype), t, condition.expand(batch, *condition.shape[1:])


def forward(
    backbone: Backbone, given: tuple[Tensor, Tensor, Tensor], attach: Attach, compiler: str | None = None
) -> Callable[[], object]:
    """Return a forward pass of a copy of the backbone to which something is attached; attaching is not timed.

    `compiler` is the backend of torch.compile; without one, the pass runs eagerly.
    """
    copied = copy.deepcopy(backbone)
    attach(copied.denoiser)
    if compiler is not None:
        copied.denoiser.compile(dynamic=False, backend=compiler)
    return lambda: copied.predict_noise(*given)


def ours(method: str, options: dict) -> Attach:
    """Return a function that attaches one of our methods."""
    return lambda denoiser: bigain.apply(denoiser, method, **options)


def tomesd_07(denoiser: ModelMixin) -> None:
    """Attach tomesd at the paper's ratio, without its random destinations."""
    import tomesd  # optional for users of the library

    tomesd.apply_patch(denoiser, ratio=0.7, use_rand=False)
