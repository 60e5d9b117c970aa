"""The classifier's errors: recomputed, resumed, and in other shards."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from bench.repeats.images import Size, Subject, difference
from bench.rounds import Row
from bigain.backbones.base import Backbone
from bigain.classifier.classify import classify_images
from bigain.compression.attach import compressed

BLOCK = 2  # images of a shard go in blocks of this many
# How the images are cut into shards, beside one for all: seven are cut where blocks end, two are not.
PARTS = {"again": 1, "in 7 shards, the last one first": 7, "in 2 shards that cut a block": 2}

Errors = dict[tuple[int, int, int], float]  # of an image, a class and a timestep


def repeated_errors(subject: Subject, size: Size, methods: list[str]) -> Iterator[Row]:
    """Compare the errors of every precision and method for every way of repeating."""
    images = len(subject.ids)
    ways = {**{how: blocks(images, shards) for how, shards in PARTS.items()}, **resumed(images)}
    for dtype in size.dtypes:
        backbone = subject.model(dtype)
        for method in methods:
            first = errors(backbone, subject, size, method, blocks(images, 1))
            for how, parts in ways.items():
                other = errors(backbone, subject, size, method, parts)
                yield difference(subject.name(dtype, method), how, *paired(first, other))


def errors(backbone: Backbone, subject: Subject, size: Size, method: str, parts: list[slice]) -> Errors:
    """Attach a method anew, as another job does, and classify the images of some blocks."""
    by_trial: Errors = {}
    settings = size.settings(method)
    with compressed(backbone.denoiser, method, **subject.options(method, "classification")) as at:
        for block in parts:
            group = (subject.latents[block], subject.ids[block], subject.conditions)
            for trial in classify_images(backbone, *group, settings, at):
                by_trial[trial.image, trial.class_index, trial.t] = trial.error
    return by_trial


def paired(first: Errors, other: Errors) -> tuple[Tensor, Tensor]:
    """Return the errors of both at the places of the second, in one order."""
    return torch.tensor([first[key] for key in other]), torch.tensor(list(other.values()))


def resumed(images: int) -> dict[str, list[slice]]:
    """Return the blocks that a job has left which was stopped after its first one."""
    return {"resumed after the first block": blocks(images, 1)[1:]}


def blocks(images: int, shards: int) -> list[slice]:
    """Return the blocks of `shards` equal shards, the last shard's first."""
    size = images // shards
    ends = [(first, first + size) for first in reversed(range(0, images, size))]
    return [slice(start, min(start + BLOCK, end)) for first, end in ends for start in range(first, end, BLOCK)]
