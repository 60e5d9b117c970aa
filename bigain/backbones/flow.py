"""Common parts of flow-matching backbones: the straight path from x_0 to eps, and conditions of several text encoders.

x_t = (1 - sigma) x_0 + sigma eps with sigma = t / 1000, the time that the model itself is given. It predicts
v = eps - x_0, so eps = x_t + (1 - sigma) v and x_0 = x_t - sigma v. The scheduler's shift moves the steps of sampling
along that path; it does not change the path.
"""

from __future__ import annotations

from functools import cached_property

from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, arange, cat
from torch.nn.functional import pad

from bigain.backbones.base import Backbone
from bigain.core.prompts import Reader

T = 1000


def sigma_at(t: Tensor, rows: int) -> Tensor:
    """Return sigma [rows, 1, 1, 1] at timesteps t [rows] or at a scalar t, float32."""
    return (t.float() / T).expand(rows).view(-1, 1, 1, 1)


def packed(pooled: Tensor, sequence: Tensor) -> Tensor:
    """Pack pooled vectors [K, P] and sequences [K, L, D] into conditions [K, 1 + L, max(P, D)].

    Row 0 is the pooled vector and the others are the sequence, each filled with zeros up to the common width.
    """
    width = max(pooled.shape[-1], sequence.shape[-1])
    pooled = pad(pooled, (0, width - pooled.shape[-1]))[:, None]
    return cat([pooled, pad(sequence, (0, width - sequence.shape[-1]))], dim=1)


def token_ids(reader: Reader, prompts: list[str]) -> Tensor:
    """Return the tokens of prompts [K, L], cut off and padded to the limit of a text encoder."""
    padding = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    return reader.tokenizer(prompts, max_length=reader.limit, **padding).input_ids


class FlowBackbone(Backbone):
    """A flow-matching transformer. A condition holds a pooled vector and a sequence, see `packed`."""

    folder = "transformer"

    @cached_property
    def scheduler(self) -> FlowMatchEulerDiscreteScheduler:
        return self.load_scheduler(FlowMatchEulerDiscreteScheduler)

    def null_condition(self) -> Tensor:
        return self.conditions([""], [])

    def unpacked(self, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled vectors [K, P] and the sequences [K, L, D] of conditions, see `packed`."""
        config = self.denoiser.config
        return conditions[:, 0, : config.pooled_projection_dim], conditions[:, 1:, : config.joint_attention_dim]

    @property
    def alphas_bar(self) -> Tensor:
        """alpha_bar_t, t = 0 .. 999, of the diffusion model with the same ratio of x_0 to eps at every t: float32."""
        sigma = arange(T) / T
        return (1 - sigma).square() / ((1 - sigma).square() + sigma.square())

    def noised(self, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """Return x_t = (1 - sigma) x_0 + sigma eps."""
        sigma = sigma_at(t, len(x_0))
        return (1 - sigma) * x_0 + sigma * eps

    def predict_noise(self, x_t: Tensor, t: Tensor, conditions: Tensor) -> Tensor:
        """Return eps = x_t + (1 - sigma) v, float32."""
        v = self.predict(x_t, t, conditions).float()
        return x_t.float() + (1 - sigma_at(t, len(x_t))) * v

    def predict_clean(self, x_t: Tensor, t: Tensor, conditions: Tensor) -> Tensor:
        """Return x_0 = x_t - sigma v, float32."""
        v = self.predict(x_t, t, conditions).float()
        return x_t.float() - sigma_at(t, len(x_t)) * v

    def set_timesteps(self, scheduler: FlowMatchEulerDiscreteScheduler, steps: int) -> None:
        """Set a scheduler's timesteps as this family's pipeline does."""
        scheduler.set_timesteps(steps, mu=self.dynamic_shift(scheduler))

    def dynamic_shift(self, scheduler: FlowMatchEulerDiscreteScheduler) -> float | None:
        """Return mu, linear in the number of image tokens, for a scheduler that shifts dynamically; else None."""
        config = scheduler.config
        if not config.use_dynamic_shifting:
            return None
        slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
        return config.base_shift + slope * (self.image_tokens - config.base_image_seq_len)

    @property
    def image_tokens(self) -> int:
        """Number of image tokens at the native resolution."""
        _, height, width = self.latent_shape
        patch = self.config_of(self.folder)["patch_size"]
        return (height // patch) * (width // patch)
