"""Time of a forward pass at one, two and four times the side of the latents. The share of attention, which token
methods shorten, grows with the size.

The embedded models' architectures have random weights here, since a trained DiT's positions fit a single size. Each
speed-up comes with its bound: counted operations of the uncompressed model over those of the method without its
planning. Softmax does not count as operations, so attention that is mostly softmax may save more.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from bench.architectures import RandomBackbone, RandomDiT, RandomStableDiffusion
from bench.attention import ARMS, MODELS, forward, guided, ours, tomesd_07
from bench.operators import Calls, calls
from bench.rounds import Row, compare
from bench.sd2 import installed
from bigain.compression.targets import select
from bigain.measure.flops import count

BATCHES = {1: 8, 2: 4, 4: 2}  # rows of a forward pass, by the factor of the latents' side
ROUNDS = 5
STEPS = ("plan", "reduce", "attention", "restore")  # of a compressed block
KINDS: dict[str, Callable[..., RandomBackbone]] = {"unet": RandomStableDiffusion, "dit": RandomDiT}


def resolution(rounds: int = ROUNDS, batches: dict[int, int] | None = None) -> Iterator[Row]:
    """Time both architectures at every size under every method, and the parts of one of their compressed blocks."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for family, (path, places) in MODELS.items():
        size = KINDS[family](path, "meta", torch.float32).latent_shape[-1]
        for times, batch in (batches or BATCHES).items():
            backbone = KINDS[family](path, device, torch.float32, size * times)
            case = f"{Path(path).stem}'s architecture, random weights, {size * times}x{size * times}, batch {batch}"
            yield from speed_ups(backbone, batch, places, case, rounds)
            yield from block_parts(backbone, batch, places, case, rounds)


def speed_ups(backbone: RandomBackbone, batch: int, places: dict[str, Any], case: str, rounds: int) -> list[Row]:
    """Return a row per method, and one of tomesd on a U-Net, with the bound of its speed-up."""
    inputs = guided(backbone, backbone.conditions_of(1), batch)
    arms = {method: strength | (places if strength else {}) for method, strength in ARMS.items()}
    runs = {method: forward(backbone, inputs, ours(method, options)) for method, options in arms.items()}
    bounds = operation_bounds(backbone, arms)
    if backbone.family == "unet" and installed("tomesd"):
        runs["tomesd"] = forward(backbone, inputs, tomesd_07)
        bounds["tomesd"] = bounds["tome_fixed"]  # merges equally many tokens in the same blocks
    with torch.inference_mode():
        rows = compare("SDPA attention", case, runs, rounds)
    return [row if row["arm"] == "none" else {**row, "bound": bounds[row["arm"]]} for row in rows]


def operation_bounds(backbone: RandomBackbone, arms: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return the bound of a forward pass's speed-up: only counted operations take time, and planning takes none."""
    model = copy.deepcopy(backbone.denoiser).to("meta")
    whole = count(model, "none").total
    counted = {method: count(model, method, **options) for method, options in arms.items()}
    return {method: whole / (flops.total - flops.planning) for method, flops in counted.items()}


def block_parts(backbone: RandomBackbone, batch: int, places: dict[str, Any], case: str, rounds: int) -> list[Row]:
    """Time every step of bigain_tm and bigain_td in the first compressed block alone, beside its uncompressed
    self-attention; projections count as attention."""
    block = select(backbone.denoiser, None, places.get("blocks"))[0]
    attention = block.module.attn1
    shape = (batch, block.grid.tokens, attention.query_dim)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(backbone.device, backbone.dtype)
    with torch.inference_mode():
        parts = calls(x, block.grid)
        short, fewer = parts["reduce, bigain_tm"](), parts["blend"]()
        steps: Calls = {
            "all tokens": lambda: attention(x),
            **{f"bigain_tm, {step}": parts[f"{step}, bigain_tm"] for step in ("plan", "reduce", "restore")},
            "bigain_tm, attention": lambda: attention(short),
            "bigain_td, reduce": parts["blend"],
            "bigain_td, attention": lambda: attention(x, encoder_hidden_states=fewer),
        }
        taken = {row["arm"]: row["seconds"] for row in compare("one block", case, steps, 3 * rounds)}
    of_method = {
        method: {step: taken.get(f"{method}, {step}", 0.0) for step in STEPS} for method in ("bigain_tm", "bigain_td")
    }
    where = f"{case}: {block.grid.tokens} tokens"
    return [
        {"benchmark": "one block", "case": where, "arm": method, "uncompressed": taken["all tokens"], **steps_taken}
        for method, steps_taken in of_method.items()
    ]
