"""Guided sampling, a step at a time (B.2.2): Euler for U-Nets, DDIM for DiTs, with classifier-free guidance."""

from __future__ import annotations

import torch
from diffusers import EulerDiscreteScheduler
from torch import Tensor

from bigain.backbones.base import Backbone


class GuidedSampler:
    """The backbone's own scheduler over `steps` steps, under `conditions` [n, ...] with the null condition `null`.

    Both guidance halves run in one batch, the null condition first. The scheduler's tables and timesteps stay on the
    CPU, where it reads numbers from them at every step; the model is given timesteps that were copied to its device all
    at once. So no step waits for the device.
    """

    def __init__(self, backbone: Backbone, conditions: Tensor, null: Tensor, steps: int, guidance: float) -> None:
        self.backbone, self.guidance = backbone, guidance
        self.scheduler = type(backbone.scheduler).from_config(backbone.scheduler.config)
        self._set_timesteps(steps)
        self.on_device = dict(zip(self.timesteps.tolist(), self.timesteps.to(backbone.device), strict=True))
        self.both = backbone.placed(torch.cat([null.expand_as(conditions), conditions]))

    def _set_timesteps(self, steps: int) -> None:
        self.scheduler.set_timesteps(steps)

    @property
    def timesteps(self) -> Tensor:
        """From noise to image, on the CPU."""
        return self.scheduler.timesteps

    def start(self, noise: Tensor) -> Tensor:
        """x_T of standard normal `noise` [n, C, H, W]."""
        return (noise * self.scheduler.init_noise_sigma).to(self.backbone.device)

    def predict(self, x: Tensor, t: Tensor) -> Tensor:
        """The guided prediction (eps, but for flow models), float32. Called once a timestep, in order, with `t` one of
        `timesteps`."""
        x_t = self.model_input(torch.cat([x, x]), t).to(self.backbone.dtype)
        prediction = self.backbone.predict(x_t, self.on_device[t.item()], self.both)
        unconditional, conditional = prediction.float().chunk(2)
        return unconditional + self.guidance * (conditional - unconditional)

    def model_input(self, x: Tensor, t: Tensor) -> Tensor:
        """x as the model takes it."""
        return self.scheduler.scale_model_input(x, t)

    def step(self, eps: Tensor, t: Tensor, x: Tensor) -> Tensor:
        """The next x; deterministic."""
        if isinstance(self.scheduler, EulerDiscreteScheduler):
            return self.scheduler.step(eps, t, x, return_dict=False)[0]
        return self.scheduler.step(eps, t, x, eta=0.0, return_dict=False)[0]


def sampler_for(backbone: Backbone, conditions: Tensor, null: Tensor, steps: int, guidance: float) -> GuidedSampler:
    """Return the sampler of a backbone: its own scheduler over `steps` steps, guided (B.2.2)."""
    if backbone.prediction == "velocity":
        from bigain.sampling.flow import FlowSampler  # FLUX's text encoders are loaded for nobody else

        return FlowSampler(backbone, conditions, null, steps, guidance)
    return GuidedSampler(backbone, conditions, null, steps, guidance)
