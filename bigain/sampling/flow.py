"""Sampler of flow-matching models: Euler steps along the velocity v = eps - x_0."""

from __future__ import annotations

from torch import Tensor

from bigain.backbones.flow import FlowBackbone
from bigain.backbones.flux import Flux
from bigain.sampling.guided import GuidedSampler


class FlowSampler(GuidedSampler):
    """Euler steps along the flow.

    A guidance-distilled FLUX takes the guidance as an input; any other model is guided by the null condition. FLUX runs
    without a null half where its pipeline would: distilled, or at guidance 1.
    """

    backbone: FlowBackbone

    def __init__(self, backbone: FlowBackbone, conditions: Tensor, null: Tensor, steps: int, guidance: float) -> None:
        if isinstance(backbone, Flux):
            if backbone.is_distilled:
                backbone.guidance, guidance = guidance, 1.0
            self.rows_per_image = 1 if guidance == 1 else 2
        super().__init__(backbone, conditions, null, steps, guidance)

    def _set_timesteps(self, steps: int) -> None:
        self.backbone.set_timesteps(self.scheduler, steps)

    def start(self, noise: Tensor) -> Tensor:
        """Return x_T, which is the noise itself."""
        return noise.to(self.backbone.device)

    def model_input(self, x: Tensor, t: Tensor) -> Tensor:
        """Return x unscaled."""
        return x

    def step(self, eps: Tensor, t: Tensor, x: Tensor) -> Tensor:
        """Return x at the next timestep; `eps` is the guided velocity."""
        return self.scheduler.step(eps, t, x, return_dict=False)[0]
