"""Sampler of flow-matching models: Euler steps along the velocity v = eps - x_0."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.backbones.flux import Flux
from bigain.sampling.guided import GuidedSampler


class FlowSampler(GuidedSampler):
    """Euler steps along the flow.

    A guidance-distilled model takes the guidance as an input; any other is guided by the null condition.
    """

    def __init__(self, backbone: Backbone, conditions: Tensor, null: Tensor, steps: int, guidance: float) -> None:
        if isinstance(backbone, Flux) and backbone.denoiser.config.guidance_embeds:
            backbone.guidance, guidance = guidance, 1.0
        super().__init__(backbone, conditions, null, steps, guidance)

    def _set_timesteps(self, steps: int) -> None:
        _, height, width = self.backbone.latent_shape
        sigmas = np.linspace(1.0, 1 / steps, steps).tolist()
        self.scheduler.set_timesteps(sigmas=sigmas, mu=self._shift(height * width // 4))

    def _shift(self, tokens: int) -> float | None:
        """Return how far the schedule is shifted towards noise, linear in the number of tokens."""
        config = self.scheduler.config
        if not config.use_dynamic_shifting:
            return None
        slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
        return config.base_shift + slope * (tokens - config.base_image_seq_len)

    def start(self, noise: Tensor) -> Tensor:
        """Return x_T, which is the noise itself."""
        return noise.to(self.backbone.device)

    def model_input(self, x: Tensor, t: Tensor) -> Tensor:
        """Return x unscaled."""
        return x

    def step(self, eps: Tensor, t: Tensor, x: Tensor) -> Tensor:
        """Return x at the next timestep; `eps` is the guided velocity."""
        return self.scheduler.step(eps, t, x, return_dict=False)[0]
