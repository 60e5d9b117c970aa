"""Images per second of the classification engine and of the released protocol's plain loop (`reference_loop`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from bench import reference_loop
from bench.rounds import ROUNDS, Row, compare
from bigain import backbones
from bigain.backbones.base import Backbone
from bigain.backbones.devices import missing_compiler
from bigain.backbones.images import to_float
from bigain.classifier.classify import ClassificationSettings, Classifier, Trial, classify_images
from bigain.classifier.timesteps import Stages
from bigain.compression.attachment import Uncompressed
from bigain.datasets import load as load_dataset
from bigain.datasets.photos import centre_crop, pixels
from bigain.methods.method import Family
from bigain.metrics.accuracy import decisions

MODELS: dict[Family, str] = {"unet": "resources/mini-unet", "dit": "resources/mini-dit"}
DATA = {"reader": "fashion", "path": "resources/fashion"}
STAGES = Stages((5, 20), (5, 1))  # of config/mini_full.yaml
TIMED, BATCH = 8, 40  # images per round; rows of a forward pass in the engine


def classification(rounds: int = ROUNDS, compiled: bool = True) -> list[Row]:
    """Time both embedded models; with `compiled` also under torch.compile, where there is a compiler."""
    rows = []
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for family, path in MODELS.items():
        backbone = backbones.load(family, path, device)
        latents, images, conditions = inputs(backbone, TIMED)
        settings = ClassificationSettings(STAGES, seed=0, batch_size=BATCH)
        block = (latents, images, conditions, settings)
        arms: dict[str, Callable[[], object]] = {"reference loop": partial(reference_loop.classify, backbone, *block)}
        with ExitStack() as stack:
            _, arms["engine"] = stack.enter_context(engine(backbones.load(family, path, device), *block))
            if compiled and missing_compiler(backbone.device) is None:
                fast = backbones.load(family, path, device)
                fast.denoiser.compile(dynamic=False)
                _, arms["engine, compiled"] = stack.enter_context(engine(fast, *block))
            rows += compare("classification", f"mini_{family}, {TIMED} images", arms, rounds)
    return rows


@contextmanager
def engine(
    backbone: Backbone, latents: Tensor, images: list[int], conditions: Tensor, settings: ClassificationSettings
) -> Iterator[tuple[Classifier, Callable[[], object]]]:
    """Open the classifier of a model, as a job does, and yield it with a function that classifies the images."""
    with Classifier.open(backbone, conditions, settings, Uncompressed()) as classifier:
        yield classifier, lambda: classifier.classify(classifier.group(images, latents))


def equal_decisions(images: int = 500) -> list[Row]:
    """Count the images that the engine and the reference loop assign to the same class, without compression."""
    rows = []
    for family, path in MODELS.items():
        backbone = backbones.load(family, path, "cuda" if torch.cuda.is_available() else "cpu")
        latents, ids, conditions = inputs(backbone, images)
        settings = ClassificationSettings(STAGES, seed=0, batch_size=BATCH)
        engine = [
            trial
            for start in range(0, images, 20)
            for trial in classify_images(
                backbone, latents[start : start + 20], ids[start : start + 20], conditions, settings, Uncompressed()
            )
        ]
        reference = reference_loop.classify(backbone, latents, ids, conditions, settings)
        equal = int((_decided(engine) == _decided(reference)).sum())
        rows.append({"benchmark": "equal decisions", "case": f"mini_{family}", "equal": equal, "of": images})
    return rows


def _decided(trials: list[Trial]) -> pd.Series:
    """Return the predicted class of each image, by image."""
    frame = pd.DataFrame([vars(trial) for trial in trials]).rename(columns={"class_index": "class"})
    return decisions(frame).sort_index()


def inputs(backbone: Backbone, count: int) -> tuple[Tensor, list[int], Tensor]:
    """Return latents and ids of the first test images, and the classes' conditions."""
    dataset = load_dataset(DATA).first(count)
    channels, size = backbone.image_shape
    photos = torch.cat(
        [to_float(pixels(centre_crop(dataset.open(k), size), channels)[None]) for k in range(len(dataset))]
    )
    latents = torch.cat([backbone.encode_images(part) for part in photos.split(50)])
    conditions = backbone.conditions(list(dataset.prompts), list(dataset.class_ids or ()))
    return latents, list(dataset.ids), conditions
