"""Seconds of a forward pass under every token method, with vanilla attention and with SDPA (Table 11).

Under vanilla attention, which holds all N x N scores, fewer tokens save memory traffic too; SDPA does not hold them, so
there less is left to save. Each row is a speed-up over the uncompressed model with the same attention.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch

import bigain
from bench.rounds import ROUNDS, Row, compare
from bigain import backbones
from bigain.backbones.base import Backbone
from bigain.measure.vanilla import vanilla_attention

MODELS = {"unet": ("resources/mini-unet", {}), "dit": ("resources/mini-dit", {"blocks": (1, 2, 3, 4)})}
ARMS = {
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


def attention(rounds: int = ROUNDS) -> list[Row]:
    """Rows for both embedded models, every method, both kinds of attention, and tomesd on the U-Net."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    for family, (path, places) in MODELS.items():
        backbone = backbones.load(family, path, device)
        for kind, context in (("vanilla", vanilla_attention), ("SDPA", lambda _: nullcontext())):
            runs = {name: _run(backbone, name, strength | places) for name, strength in ARMS.items()}
            if family == "unet":
                runs["tomesd"] = _tomesd(backbone)
            with torch.inference_mode(), context(backbone.denoiser):
                rows += compare(f"{kind} attention", f"mini_{family}, batch {BATCH}", runs, rounds)
    return rows


def _inputs(backbone: Backbone) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = torch.randn(BATCH, *backbone.latent_shape, generator=torch.Generator().manual_seed(0)).to(backbone.device)
    condition = backbone.placed(backbone.null_condition())
    return x, torch.full((BATCH,), 500, device=x.device), condition.expand(BATCH, *condition.shape[1:])


def _run(backbone: Backbone, method: str, options: dict):  # noqa: ANN202 - a callable without arguments
    given = _inputs(backbone)
    places = {} if method == "none" else options

    def run() -> None:
        with bigain.compressed(backbone.denoiser, method, **places):
            backbone.predict_noise(*given)

    return run


def _tomesd(backbone: Backbone):  # noqa: ANN202 - a callable without arguments
    import tomesd

    given = _inputs(backbone)

    def run() -> None:
        tomesd.apply_patch(backbone.denoiser, ratio=0.7, use_rand=False)
        backbone.predict_noise(*given)
        tomesd.remove_patch(backbone.denoiser)

    return run
