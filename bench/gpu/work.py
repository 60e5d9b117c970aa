"""What each stage of a GPU run does, at full size on a GPU and at a tiny one in rehearsal on a CPU.

What measures lives in the other modules of `bench`, which a stage imports when it runs: a library that is missing ends
the stages that need it, and no other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from bench.rounds import Row

COMPILING = 90.0  # seconds: with less it is not worth starting to compile SD 2.0's U-Net
COMPILED_SIDES = (128, 64, 96)  # from where merging pays most
TINY_STUDY: dict[str, Any] = {
    "device": "cpu",
    "datasets": {"fashion": {"images": 4}},
    "classification": {"stages": [1, 2], "keep": [2, 1], "block": 4},
    "probes": {"shown": 2, "draws": 2, "images": 4, "timesteps": 2, "bands": 4},
    "efficiency": {"rounds": 1},
    "strengths": {"downsample_factor": [2]},
    "cells": [
        {"task": "classification", "backbone": "mini_dit", "dataset": "fashion", "methods": ["none", "bigain_td"]}
    ],
}
TINY_PAPER: dict[str, Any] = {
    "backbones": {"sd2": {"architecture": None}, "dit_xl2": {"architecture": None, "blocks": [1, 2]}},
    "cells": [{"task": "classification", "backbone": "sd2", "dataset": "pets", "methods": ["none", "bigain_td"]}],
    "strengths": {"downsample_factor": [2]},
}
HALF_PRECISION: dict[str, Any] = {
    "device": "cuda",
    "backbones": {"sd2": {"dtype": "float16"}, "dit_xl2": {"dtype": "float16"}},
}
SCORED = ("score_classification", "score_generation")  # the last jobs of cells: after them come tables


@dataclass(frozen=True)
class Run:
    """What a stage may use."""

    rehearsal: bool  # tiny sizes, on a CPU
    deadline: float  # of time.monotonic(): when a stage has to be finished
    folder: Path  # an empty one, removed afterwards

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.deadline - time.monotonic()


def tiny_architecture(run: Run, family: Literal["unet", "dit"]) -> str:
    """Write the config of a tiny model, and return its file."""
    from tests.helpers import models

    model = models.tiny_unet() if family == "unet" else models.tiny_dit()
    file = run.folder / f"tiny_{family}.json"
    file.write_text(model.to_json_string())
    return str(file)


def environment(run: Run) -> Iterator[Row]:
    """Describe the machine and measure its ceilings."""
    from bench.ceilings import COPIED, SIDE, ceilings
    from bench.machine import described

    yield from described()
    for row in ceilings(256, 2**22) if run.rehearsal else ceilings(SIDE, COPIED):
        yield {**row, "value": f"{row['rate']:.4g} {row['of']}"}


def tests(run: Run) -> Iterator[Row]:
    """Run the tests that need a GPU; without one they are collected and skipped."""
    from bench.device_tests import device_tests

    return device_tests(("tests/test_gpu.py",), run.left)


def shrunken_study(run: Run) -> Iterator[Row]:
    """Run the shrunken study from config to page."""
    from bench.studies import study

    return study(("config/short.yaml",), TINY_STUDY if run.rehearsal else {"device": "cuda"}, run.folder, run.left)


def determinism(run: Run) -> Iterator[Row]:
    """Compute errors, latents and features again in every way that must give the same bits."""
    from bench.repeats import Size, repeats

    if not run.rehearsal:
        return repeats()
    methods = ("bigain_tm", "dip_go", "mosaicdiff")
    return repeats(Size(images=7, classes=3, dtypes=("float32",), methods=methods, batch=6, steps=2))


def operators(run: Run) -> Iterator[Row]:
    """Time every part of a compressed block alone."""
    from bench.operators import MAPS
    from bench.operators import operators as timed

    return timed(((8, 64),), batch=2) if run.rehearsal else timed(MAPS)


def attention(run: Run) -> Iterator[Row]:
    """Time guided forward passes of SD 2.0 at three sizes, eager and as CUDA graphs."""
    import torch

    from bench.architectures import RandomStableDiffusion
    from bench.sd2 import SIDES
    from bench.sd2 import attention as timed

    if run.rehearsal:
        yield from timed(RandomStableDiffusion(tiny_architecture(run, "unet"), "cpu", torch.float32), 8, rounds=1)
        return
    backbone = RandomStableDiffusion("sd2", "cuda", torch.bfloat16)
    for side in SIDES:
        yield from timed(backbone, side)


def engine(run: Run) -> Iterator[Row]:
    """Time the classification engine beside the plain loop on both architectures."""
    from bench.sd2 import classification

    yield from on_both_architectures(run, classification)


def compiled_engine(run: Run) -> Iterator[Row]:
    """Time the compiled classification engine beside the eager one on both architectures."""
    from bench.sd2 import compiled_classification

    compiler = "eager" if run.rehearsal else "inductor"
    yield from on_both_architectures(run, partial(compiled_classification, compiler=compiler))


def on_both_architectures(run: Run, timed: Callable[..., Iterator[Row]]) -> Iterator[Row]:
    """Time classification with Stable Diffusion 2.0's and DiT-XL/2's architectures, or tiny ones in a rehearsal."""
    import torch

    from bench.architectures import RandomDiT, RandomStableDiffusion
    from bench.sd2 import Work

    work = Work(images=1, classes=3, trials=2, batch=6, product_side=256) if run.rehearsal else Work()
    rounds, device, dtype = (1, "cpu", torch.float32) if run.rehearsal else (3, "cuda", torch.bfloat16)
    if run.rehearsal:
        unet, dit = tiny_architecture(run, "unet"), tiny_architecture(run, "dit")
    else:
        unet, dit = "sd2", "dit_xl2"
    failed: Exception | None = None
    for kind, name in ((RandomStableDiffusion, unet), (RandomDiT, dit)):
        try:
            yield from timed(kind(name, device, dtype), work, rounds)
        except Exception as error:  # costs the other model nothing
            failed = failed or error
    if failed is not None:
        raise failed


def compiled(run: Run) -> Iterator[Row]:
    """Time compiled guided forward passes of SD 2.0, size after size while there is time to compile one more."""
    from bench.compiled import compiled_attention

    if run.rehearsal:
        model = {"architecture": tiny_architecture(run, "unet"), "device": "cpu", "dtype": "float32"}
        yield from compiled_attention(8, model, run.left, ("none", "bigain_tm", "tomesd"), "eager", rounds=1)
        return
    model = {"architecture": "sd2", "device": "cuda", "dtype": "bfloat16"}
    for side in COMPILED_SIDES:
        if run.left > COMPILING:
            yield from compiled_attention(side, model, run.left)
        else:
            row = {"benchmark": "SDPA attention, compiled", "case": f"{side}x{side}", "arm": "all"}
            yield {**row, "note": "not run: no time left"}


def paper(run: Run) -> Iterator[Row]:
    """Run the paper's rules on its true architectures with random weights, in half precision."""
    from bench.studies import study, write_random_models

    write_random_models(run.folder, run.rehearsal, ("pets",) if run.rehearsal else ("pets", "imagenet", "coco"))
    configs = ("config/paper.yaml", "config/paper_smoke.yaml")
    changes, until = (TINY_PAPER, SCORED) if run.rehearsal else (HALF_PRECISION, ())
    yield from study(configs, changes, run.folder, run.left, until)


def embedded(run: Run) -> Iterator[Row]:
    """Compute and score the embedded study's main cells on all committed test images, as far as time goes."""
    from bench.studies import study

    full = {"device": "cuda", "datasets": {"fashion": {"images": None}}}
    return study(("config/decisive.yaml",), TINY_STUDY if run.rehearsal else full, run.folder, run.left, SCORED)
