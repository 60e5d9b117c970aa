"""Check that results are bit-identical when they are computed again.

Errors of the classifier (recomputed, resumed, in other shards), sampled latents, features of images, and errors of two
jobs at once on one device.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench.attention import MODELS
from bench.repeats.at_once import errors_at_once
from bench.repeats.calibrations import calibrated
from bench.repeats.classification import repeated_errors
from bench.repeats.images import Size, Subject
from bench.repeats.outputs import repeated_features, repeated_latents
from bench.rounds import Row


def repeats(size: Size | None = None) -> Iterator[Row]:
    """Compare both embedded models under every method: token methods, those that need a calibration, and last two
    jobs at once."""
    size = size or Size()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    subjects = [Subject.load(family, size, device) for family in MODELS]
    for subject in subjects:
        yield from repeated_errors(subject, size, size.of_kind(structural=False))
    yield repeated_features(size, device)
    for subject in subjects:
        yield from repeated_latents(subject, size, size.of_kind(structural=False))
    with TemporaryDirectory() as folder:
        for subject in subjects:
            ready, structural = calibrated(subject, size, Path(folder)), size.of_kind(structural=True)
            yield from repeated_errors(ready, size, structural)
            yield from repeated_latents(ready, size, structural)
    yield from errors_at_once(subjects, size)
