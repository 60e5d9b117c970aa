"""Check that the classifier's errors are bit-identical when recomputed, resumed, and in other shards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from bench.attention import MODELS
from bench.classification import inputs
from bench.rounds import Row
from bigain import backbones
from bigain.backbones.base import Backbone
from bigain.classifier.classify import ClassificationSettings, classify_images
from bigain.classifier.timesteps import Stages
from bigain.compression.attach import compressed
from bigain.methods.presets import METHODS

DTYPES = ("float32", "float16", "bfloat16")
IMAGES, BLOCK = 14, 2  # images of a shard go in blocks of this many
SETTINGS = ClassificationSettings(Stages((2,), (1,)), seed=0, batch_size=40)
# How the images are cut into shards, beside one for all: seven are cut where blocks end, two are not.
PARTS = {"again": 1, "in 7 shards, the last one first": 7, "in 2 shards that cut a block": 2}

Errors = dict[tuple[int, int, int], float]  # of an image, a class and a timestep


def repeats(
    images: int = IMAGES,
    dtypes: tuple[str, ...] = DTYPES,
    methods: tuple[str, ...] | None = None,
    classes: int | None = None,
    settings: ClassificationSettings = SETTINGS,
) -> Iterator[Row]:
    """Compare both embedded models, in every precision, under every token method, for every way of repeating; a few
    methods and the first classes alone for a rehearsal."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for family, (path, places) in MODELS.items():
        latents, ids, conditions = inputs(backbones.load(family, path, device), images)
        for dtype in dtypes:
            backbone = backbones.load(family, path, device, dtype)
            for method, strength in strengths().items():
                if methods is None or method in methods:
                    case = {"case": f"mini_{family}, {dtype}", "arm": method}
                    block = (latents, ids, conditions[:classes], settings)
                    yield from of_method(backbone, *block, method, strength | places, case)


def strengths() -> dict[str, dict[str, Any]]:
    """Return a strength for every token method, "none" first."""
    kinds: dict[str, dict[str, Any]] = {"merge_ratio": {"ratio": 0.7}, "downsample_factor": {"factor": 2}, "none": {}}
    methods = [method for method in METHODS.values() if method.acts_on != "model"]
    return {method.id: kinds[method.strength_kind] for method in methods}


def of_method(
    backbone: Backbone,
    latents: Tensor,
    ids: list[int],
    conditions: Tensor,
    settings: ClassificationSettings,
    method: str,
    options: dict,
    case: dict[str, str],
) -> list[Row]:
    """Return a row per way of repeating: how many errors differ, of how many, and the largest relative difference."""
    strength = options if method != "none" else {}

    def errors(parts: list[slice]) -> Errors:
        """Attach the method anew, as another job does, and classify the images of some blocks."""
        found: Errors = {}
        with compressed(backbone.denoiser, method, task="classification", **strength) as at:
            for block in parts:
                for trial in classify_images(backbone, latents[block], ids[block], conditions, settings, at):
                    found[trial.image, trial.class_index, trial.t] = trial.error
        return found

    first = errors(blocks(len(ids), 1))
    rows = []
    for how, parts in {**{how: blocks(len(ids), shards) for how, shards in PARTS.items()}, **resumed(len(ids))}.items():
        other = errors(parts)
        gaps = [abs(error - first[key]) / first[key] for key, error in other.items() if error != first[key]]
        rows.append({**case, "how": how, "different": len(gaps), "of": len(other), "largest": max(gaps, default=0.0)})
    return rows


def resumed(images: int) -> dict[str, list[slice]]:
    """Return the blocks that a job has left which was stopped after its first one."""
    return {"resumed after the first block": blocks(images, 1)[1:]}


def blocks(images: int, shards: int) -> list[slice]:
    """Return the blocks of `shards` equal shards, the last shard's first."""
    size = images // shards
    ends = [(first, first + size) for first in reversed(range(0, images, size))]
    return [slice(start, min(start + BLOCK, end)) for first, end in ends for start in range(first, end, BLOCK)]
