"""Time forward passes of growing batches, to find the one that takes the least time per row.

Passes are eager and uncompressed. The batch doubles while that gains at least `GAIN` and leaves `HEADROOM`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import torch

from bigain.backbones.base import Backbone

FIRST = 8  # rows; fewer if they do not fit
LARGEST = {"cpu": 64, "cuda": 1024}
GAIN = 0.05  # least relative gain in seconds per row for which the batch is doubled again
HEADROOM = 0.25  # of a GPU's memory, left for noise, prompts and plans
PASSES = 3  # of every batch, after one that is not timed

Clock = Callable[[Callable[[], object]], float]


class Timing(NamedTuple):
    """Median seconds per row of a forward pass, and the device's peak memory in bytes; None on a CPU."""

    rows: int
    seconds_per_row: float
    peak_bytes: int | None


def fastest(timings: list[Timing]) -> Timing:
    """Return the batch with the fewest seconds per row, the smallest of equal ones."""
    return min(timings, key=lambda timing: (timing.seconds_per_row, timing.rows))


@torch.inference_mode()
def measure(backbone: Backbone, clock: Clock | None = None) -> list[Timing]:
    """Time batches from `FIRST` rows on; `clock` returns the seconds of a call.

    Raises ValueError if not even a single row fits into memory.
    """
    clock = clock or _seconds
    rows, timings = FIRST, list[Timing]()
    while rows <= LARGEST.get(backbone.device.type, FIRST):
        try:
            timing = _timing(backbone, rows, clock)
        except torch.OutOfMemoryError:
            if timings:
                break
            timing = None
        if timing is None:
            if rows == 1:
                raise ValueError(f"not even one row of a forward pass fits into the memory of {backbone.device}")
            rows //= 2
            continue
        if timings and not leaves_headroom(timing, backbone.device):
            break
        gained = not timings or timing.seconds_per_row < (1 - GAIN) * timings[-1].seconds_per_row
        timings.append(timing)
        if not gained or rows < FIRST:  # of fewer rows, twice as many did not fit
            break
        rows *= 2
    return timings


def leaves_headroom(timing: Timing, device: torch.device) -> bool:
    """Return whether a batch leaves `HEADROOM` of the device's memory free."""
    if timing.peak_bytes is None:
        return True
    return timing.peak_bytes <= (1 - HEADROOM) * torch.cuda.get_device_properties(device).total_memory


def _timing(backbone: Backbone, rows: int, clock: Clock) -> Timing:
    on_gpu = backbone.device.type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(backbone.device)
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(rows, *backbone.latent_shape, generator=generator).to(backbone.device, backbone.dtype)
    null = backbone.to_device(backbone.null_condition())
    conditions, t = null.expand(rows, *null.shape[1:]), torch.full((rows,), 500, device=backbone.device)
    backbone.predict_noise(x_t, t, conditions)
    seconds = median(clock(lambda: backbone.predict_noise(x_t, t, conditions)) for _ in range(PASSES))
    return Timing(rows, seconds / rows, torch.cuda.max_memory_allocated(backbone.device) if on_gpu else None)


def _seconds(run: Callable[[], object]) -> float:
    """Return the wall time of a call, with all that the device does for it."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began
