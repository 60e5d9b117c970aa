"""The cost of attaching, removing and compiling, in comparison with tomesd: `python -m bench.attach_cost`.

Attaching is timed on the architecture of Stable Diffusion 2.0 without weights, with the arms in turns; eager and
compiled forward passes are timed on the embedded U-Net, one arm after the other. Figures are medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import tomesd
import torch
from diffusers import UNet2DConditionModel

import bigain
from bigain.measure.flops import architecture

RATIO, BATCH, ROUNDS = 0.5, 8, 9


def seconds(run: Callable[[], object]) -> float:
    """Return the wall time of a call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def tomesd_on(unet: UNet2DConditionModel) -> None:
    """Attach tomesd with fixed destinations."""
    tomesd.apply_patch(unet, ratio=RATIO, use_rand=False)


def tomesd_off(unet: UNet2DConditionModel) -> None:
    """Remove tomesd."""
    tomesd.remove_patch(unet)


ARMS: dict[str, tuple[Callable[[Any], object], Callable[[Any], object]]] = {
    "tomesd, top-left": (tomesd_on, tomesd_off),
    "tome_fixed": (lambda unet: bigain.apply(unet, "tome_fixed", ratio=RATIO), bigain.remove),
    "bigain_tm": (lambda unet: bigain.apply(unet, "bigain_tm", ratio=RATIO), bigain.remove),
}


def attaching() -> None:
    """Print the milliseconds of attaching and removing."""
    unet = architecture("sd2")
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ARMS}
    for _ in range(ROUNDS):
        for name, (on, off) in ARMS.items():
            times[name].append((seconds(partial(on, unet)), seconds(partial(off, unet))))
    for name, measured in times.items():
        on, off = (1e3 * statistics.median(part) for part in zip(*measured, strict=True))
        print(f"{name:18} attach {on:7.2f} ms   remove {off:7.2f} ms   (SD 2.0, no weights)")


@torch.inference_mode()
def forward() -> None:
    """Print seconds of the first compiled pass, and of eager and compiled passes after it."""
    inputs = (torch.randn(BATCH, 4, 16, 16), 500, torch.randn(BATCH, 16, 64))
    for name, (on, off) in {"none": (lambda unet: None, lambda unet: None), **ARMS}.items():
        unet = UNet2DConditionModel.from_pretrained("resources/mini-unet", subfolder="unet").eval()
        on(unet)
        torch._dynamo.reset()
        unet(*inputs)
        eager = statistics.median(seconds(partial(unet, *inputs)) for _ in range(ROUNDS))
        breaks = torch._dynamo.explain(unet)(*inputs).graph_break_count
        torch._dynamo.reset()
        compiled = torch.compile(unet, dynamic=False)
        first = seconds(partial(compiled, *inputs))
        compiled(*inputs)
        fast = statistics.median(seconds(partial(compiled, *inputs)) for _ in range(ROUNDS))
        times = f"eager {1e3 * eager:6.1f} ms   compiled {1e3 * fast:6.1f} ms after {first:5.1f} s"
        print(f"{name:18} {times}   {breaks} graph breaks")
        off(unet)


if __name__ == "__main__":
    attaching()
    forward()
