"""The time of the classification by operator, in the plain loop and in the engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from bench import reference_loop
from bench.classification import BATCH, MODELS, STAGES, TIMED, inputs
from bench.rounds import Row
from bigain import backbones
from bigain.classifier.classify import ClassificationSettings, classify_images
from bigain.compression.attachment import Uncompressed

SHOWN = 8  # operators of an arm; the rest are one row


def profiles() -> list[Row]:
    """Profile both embedded models and both arms; return the operators with the most self time."""
    rows = []
    on_gpu = torch.cuda.is_available()
    for family, path in MODELS.items():
        backbone = backbones.load(family, path, "cuda" if on_gpu else "cpu")
        latents, images, conditions = inputs(backbone, TIMED)
        block = (latents, images, conditions, ClassificationSettings(STAGES, seed=0, batch_size=BATCH))
        arms: dict[str, Callable[[], object]] = {
            "reference loop": partial(reference_loop.classify, backbone, *block),
            "engine": partial(classify_images, backbone, *block, Uncompressed()),
        }
        for arm, run in arms.items():
            rows += [{"case": f"mini_{family}", "arm": arm} | row for row in operators(run, on_gpu)]
    return rows


def operators(run: Callable[[], object], on_gpu: bool, shown: int = SHOWN) -> list[Row]:
    """Profile the second of two calls; return the operators with the most self time, and the rest as "all others".

    `seconds` are self time of the CPU, or of the GPU if `on_gpu`; `share` is of all operators' seconds.
    """
    run()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiled:
        run()
    kind = DeviceType.CUDA if on_gpu else DeviceType.CPU
    events = [event for event in profiled.key_averages() if event.device_type == kind]
    seconds = {e.key: (e.self_device_time_total if on_gpu else e.self_cpu_time_total) / 1e6 for e in events}
    calls = {event.key: event.count for event in events}
    names = sorted(seconds, key=lambda name: -seconds[name])
    total = sum(seconds.values())
    rows = [_row(name, seconds[name], calls[name], total) for name in names[:shown]]
    rest = names[shown:]
    if rest:
        rows.append(_row("all others", sum(seconds[n] for n in rest), sum(calls[n] for n in rest), total))
    return rows


def _row(operator: str, seconds: float, calls: int, total: float) -> Row:
    return {"operator": operator, "seconds": seconds, "share": seconds / total, "calls": calls}
