"""The models and images that are computed again and again, and how two computations of them differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.attention import MODELS
from bench.classification import inputs
from bench.rounds import Row
from bigain import backbones
from bigain.backbones.base import Backbone
from bigain.classifier.classify import ClassificationSettings
from bigain.classifier.timesteps import Stages
from bigain.methods.method import Family
from bigain.methods.presets import METHODS
from bigain.sampling.generate import Sampling

SEED = 0


@dataclass(frozen=True)
class Size:
    """How much is computed; the defaults are those on a GPU."""

    images: int = 14
    classes: int | None = None  # the first ones; None: all
    dtypes: tuple[str, ...] = ("float32", "float16", "bfloat16")
    methods: tuple[str, ...] = tuple(METHODS)
    batch: int = 40  # rows of a forward pass
    trials: int = 2  # timesteps of an image and a class
    steps: int = 3  # of the sampler

    @property
    def sampling(self) -> Sampling:
        """The sampler's settings."""
        return Sampling(self.steps, guidance=2.5, seed=SEED)

    def settings(self, method: str) -> ClassificationSettings:
        """Return the classifier's settings under a method."""
        settings = ClassificationSettings(Stages((self.trials,), (1,)), SEED, self.batch)
        return replace(settings, noise_per=METHODS[method].noise_per)

    def of_kind(self, structural: bool) -> list[str]:
        """Return the methods that change the model, or the others."""
        return [name for name in self.methods if (METHODS[name].acts_on == "model") == structural]


@dataclass(frozen=True)
class Subject:
    """An embedded model and images: latents [n, C, H, W], ids and the conditions of the classes."""

    family: Family
    device: str
    latents: Tensor
    ids: list[int]
    conditions: Tensor
    calibrations: Mapping[tuple[str, str], Path] = field(default_factory=dict)  # by method and task

    @staticmethod
    def load(family: Family, size: Size, device: str) -> Subject:
        """Encode the images by the model of a family."""
        latents, ids, conditions = inputs(backbones.load(family, MODELS[family][0], device), size.images)
        return Subject(family, device, latents, ids, conditions[: size.classes])

    def model(self, dtype: str) -> Backbone:
        """Load the model in a precision."""
        return backbones.load(self.family, MODELS[self.family][0], self.device, dtype)

    def name(self, dtype: str, method: str) -> dict[str, str]:
        """Return how a table names the model under a method."""
        return {"case": f"mini_{self.family}, {dtype}", "arm": method}

    def options(self, method: str, task: str) -> dict[str, Any]:
        """Return the options of `compressed` for a method at the strength that is checked."""
        kind, places = METHODS[method].strength_kind, MODELS[self.family][1]
        if kind == "flops_reduction_percent":
            return {"calibration": self.calibrations[method, task]}
        strengths: dict[str, dict[str, Any]] = {"merge_ratio": {"ratio": 0.7}, "downsample_factor": {"factor": 2}}
        return {**strengths[kind], **places, "task": task} if kind in strengths else {}

    def labels(self) -> Tensor:
        """Return a condition per image: those of the classes in turn."""
        return self.conditions[[place % len(self.conditions) for place in range(len(self.ids))]]


def difference(case: Mapping[str, str], how: str, first: Tensor, other: Tensor) -> Row:
    """Return how many values differ, of how many, and by how much at most, relative to the largest value."""
    different = int((other != first).sum())
    gap = (other.double() - first.double()).abs().max() / first.double().abs().max() if different else 0.0
    return {**case, "how": how, "different": different, "of": other.numel(), "largest": float(gap)}


def on_cpu(x: Tensor) -> Tensor:
    """Return a copy on the CPU that may be differentiated, unlike a tensor of inference mode."""
    return torch.empty_like(x, device="cpu").copy_(x)
