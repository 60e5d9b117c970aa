"""The runs that DiP-GO's gates are calibrated on: images classified or sampled, step by step from noise."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.calibration.data import CalibrationData
from bigain.classifier.timesteps import Stages
from bigain.sampling.guided import sampler_for

SMALLEST_ALPHA_BAR = 2**-24  # as in Euler's schedule of zero terminal SNR, whose last sigma would else be infinite


class Run(Protocol):
    """A schedule of timesteps [P], visited in order.

    It begins anew where `starts` is set. `rows` are the noise predictions per image at each step, `weights` weigh the
    step's squared error in the noise.
    """

    data: CalibrationData
    timesteps: list[float]
    starts: list[bool]
    rows: list[int]
    weights: list[float]

    def start(self) -> Tensor:
        """Return x at the first timestep."""

    def predict(self, position: int, x: Tensor) -> Tensor:
        """Predict eps at a position."""

    def advance(self, position: int, x: Tensor, eps: Tensor) -> Tensor:
        """Return x at the next position."""

    def outcome(self, x: Tensor, predictions: list[Tensor]) -> Tensor:
        """Return what the run computes: the last x, or all predictions."""


class Steps(NamedTuple):
    """The steps of a run, as in `Run`."""

    timesteps: list[float]
    starts: list[bool]
    rows: list[int]


def classification_steps(stages: Stages, candidates: int) -> Steps:
    """Return the timesteps of every stage from high to low, each with a row for every candidate left."""
    schedule = [sorted(stage, reverse=True) for stage in stages.timesteps()]
    alive = (candidates, *stages.keep)
    return Steps(
        [float(t) for stage in schedule for t in stage],
        [t == stage[0] for stage in schedule for t in stage],
        [min(count, candidates) for stage, count in zip(schedule, alive, strict=False) for _ in stage],
    )


def sampling_steps(timesteps: list[float]) -> Steps:
    """Return a guided sampler's steps, each with a row for both sides of the guidance."""
    return Steps(timesteps, [position == 0 for position in range(len(timesteps))], [2] * len(timesteps))


class ClassificationRun:
    """Classification: noise predictions at each stage's timesteps from high to low, with one noise per image, under the
    image's own condition and under another image's."""

    def __init__(self, backbone: Backbone, data: CalibrationData, stages: Stages, candidates: int, seed: int) -> None:
        self.backbone, self.data, self.seed = backbone, data, seed
        self.timesteps, self.starts, self.rows = classification_steps(stages, candidates)
        self.weights = [1.0] * len(self.timesteps)
        self.conditions = backbone.to_device(torch.cat([data.conditions, data.conditions.roll(1, dims=0)]))

    def start(self) -> Tensor:
        return self._noised(0)

    def predict(self, position: int, x: Tensor) -> Tensor:
        t = torch.tensor(int(self.timesteps[position]), device=self.backbone.device)
        return self.backbone.predict_noise(torch.cat([x, x]), t, self.conditions).float()

    def advance(self, position: int, x: Tensor, eps: Tensor) -> Tensor:
        return self._noised(min(position + 1, len(self.timesteps) - 1))

    def outcome(self, x: Tensor, predictions: list[Tensor]) -> Tensor:
        return torch.stack(predictions)

    def _noised(self, position: int) -> Tensor:
        t = torch.full((len(self.data.latents),), int(self.timesteps[position]))
        x_t, _ = self.data.noised(self.backbone, t, self.seed, "dip_go noise")
        return x_t.to(self.backbone.device, self.backbone.dtype)


class GenerationRun:
    """Guided sampling from the images' captions. To first order, an error in the noise moves the image by the step's
    length in sigma = sqrt((1 - alpha_bar) / alpha_bar), whose square is its weight."""

    def __init__(self, backbone: Backbone, data: CalibrationData, steps: int, guidance: float, seed: int) -> None:
        self.backbone, self.data, self.seed = backbone, data, seed
        self.settings = (steps, guidance)
        self.sampler = sampler_for(backbone, data.conditions, data.null, steps, guidance)
        t = self.sampler.timesteps.double()
        self.timesteps, self.starts, self.rows = sampling_steps(t.tolist())
        alpha_bar = backbone.alphas_bar.double().clamp(min=SMALLEST_ALPHA_BAR)
        low = t.floor().long()
        high = (low + 1).clamp(max=len(alpha_bar) - 1)
        sigma = ((1 - alpha_bar) / alpha_bar).sqrt()
        sigma = torch.lerp(sigma[low], sigma[high], t - low)
        weights = torch.cat([sigma, sigma.new_zeros(1)]).diff().square()
        if backbone.predicts_v:  # whose error is one of sqrt(alpha_bar) times as much in eps
            weights = weights * torch.lerp(alpha_bar[low], alpha_bar[high], t - low)
        self.weights = weights.tolist()

    def start(self) -> Tensor:
        self.sampler = sampler_for(self.backbone, self.data.conditions, self.data.null, *self.settings)
        return self.sampler.start(self.data.noise(self.seed, "dip_go x_T"))

    def predict(self, position: int, x: Tensor) -> Tensor:
        return self.sampler.predict(x, self.sampler.timesteps[position])

    def advance(self, position: int, x: Tensor, eps: Tensor) -> Tensor:
        return self.sampler.step(eps, self.sampler.timesteps[position], x)

    def outcome(self, x: Tensor, predictions: list[Tensor]) -> Tensor:
        return x
