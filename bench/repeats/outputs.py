"""Generated latents, and features of images, computed twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from bench.classification import DATA
from bench.repeats.images import Size, Subject, difference
from bench.rounds import Row
from bigain.backbones.base import Backbone
from bigain.backbones.images import to_float
from bigain.compression.attach import compressed
from bigain.datasets import load as load_dataset
from bigain.datasets.photos import crops
from bigain.jobs.features import features_of
from bigain.measure.features import load_network
from bigain.sampling.generate import sample_latents

FASHION_NET = Path("resources/fashion-net/fashion-net.safetensors")
GENERATED = 4  # images of a block


def repeated_latents(subject: Subject, size: Size, methods: list[str]) -> Iterator[Row]:
    """Compare two samplings of the same block in every precision under every method."""
    for dtype in size.dtypes:
        backbone = subject.model(dtype)
        for method in methods:
            first, other = (latents(backbone, subject, size, method) for _ in range(2))
            yield difference(subject.name(dtype, method), "latents sampled again", first, other)


def latents(backbone: Backbone, subject: Subject, size: Size, method: str) -> Tensor:
    """Attach a method anew and sample a block."""
    ids, labels, null = subject.ids[:GENERATED], subject.labels()[:GENERATED], backbone.null_condition()
    with compressed(backbone.denoiser, method, **subject.options(method, "generation")) as at:
        return sample_latents(backbone, ids, labels, null, size.sampling, at).cpu()


def repeated_features(size: Size, device: str) -> Row:
    """Compare two computations of the features of the same images."""
    images = to_float(crops(load_dataset(DATA).first(size.images), range(size.images), size=32, channels=1))
    first, other = (features_of(load_network("fashion-net", FASHION_NET).to(device), images) for _ in range(2))
    return difference({"case": "fashion-net, float32", "arm": "features"}, "again", first, other)
