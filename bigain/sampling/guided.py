"""Samplers with classifier-free guidance, one step at a time (B.2.2): Euler for U-Nets, DDIM for DiTs."""

from __future__ import annotations

import torch
from diffusers import EulerDiscreteScheduler
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.backbones.flow import FlowBackbone


class GuidedSampler:
    """Sampler with the backbone's own scheduler, under `conditions` [n, ...] guided away from the `null` condition.

    Both halves of the guidance run in one batch, the null condition first; where the conditions alone are enough
    (`rows_per_image` is 1), only theirs runs. No step waits for the device: the scheduler's tables and timesteps stay
    on the CPU, where it reads them, and the model gets timesteps that were copied to its device all at once.
    """

    rows_per_image = 2  # of a forward pass

    def __init__(self, backbone: Backbone, conditions: Tensor, null: Tensor, steps: int, guidance: float) -> None:
        self.backbone, self.guidance = backbone, guidance
        self.scheduler = type(backbone.scheduler).from_config(backbone.scheduler.config)
        self._set_timesteps(steps)
        self._on_device = dict(zip(self.timesteps.tolist(), self.timesteps.to(backbone.device), strict=True))
        halves = [null.expand_as(conditions), conditions][-self.rows_per_image :]
        self._conditions = backbone.to_device(torch.cat(halves))

    def _set_timesteps(self, steps: int) -> None:
        self.scheduler.set_timesteps(steps)

    @property
    def timesteps(self) -> Tensor:
        """Timesteps from noise to image, on the CPU."""
        return self.scheduler.timesteps

    def start(self, noise: Tensor) -> Tensor:
        """Return x_T for standard normal `noise` [n, C, H, W]."""
        return (noise * self.scheduler.init_noise_sigma).to(self.backbone.device)

    def predict(self, x: Tensor, t: Tensor) -> Tensor:
        """Return eps_null + guidance * (eps_c - eps_null), float32.

        If the model predicts v or a flow's velocity, that prediction takes the place of eps. `t` is one of
        `timesteps`, which have to be visited in order.
        """
        x_t = self.model_input(torch.cat([x] * self.rows_per_image), t).to(self.backbone.dtype)
        prediction = self.backbone.predict(x_t, self._on_device[t.item()], self._conditions).float()
        if self.rows_per_image == 1:
            return prediction
        unconditional, conditional = prediction.chunk(2)
        return unconditional + self.guidance * (conditional - unconditional)

    def model_input(self, x: Tensor, t: Tensor) -> Tensor:
        """Scale x to what the model was trained on."""
        return self.scheduler.scale_model_input(x, t)

    def step(self, eps: Tensor, t: Tensor, x: Tensor) -> Tensor:
        """Return x at the next timestep, without adding noise; `eps` is what `predict` returned."""
        if isinstance(self.scheduler, EulerDiscreteScheduler):
            return self.scheduler.step(eps, t, x, return_dict=False)[0]
        return self.scheduler.step(eps, t, x, eta=0.0, return_dict=False)[0]


def sampler_for(backbone: Backbone, conditions: Tensor, null: Tensor, steps: int, guidance: float) -> GuidedSampler:
    """Return a sampler for a backbone; arguments are those of `GuidedSampler`."""
    if isinstance(backbone, FlowBackbone):
        from bigain.sampling.flow import FlowSampler  # imports FLUX, whose text encoders no other backbone needs

        return FlowSampler(backbone, conditions, null, steps, guidance)
    return GuidedSampler(backbone, conditions, null, steps, guidance)
