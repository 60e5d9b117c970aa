"""The KL autoencoder of the embedded models: 32x32 grey images <-> 4x16x16 latents, as many numbers as pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from bigain.core.rng import numpy_generator, torch_generator
from bigain.training.loop import Recipe, train

RECIPE = Recipe(steps=2500, batch_size=32, learning_rate=2e-3, warmup=100, decay_fraction=0.5, ema_decay=0.99)


def build() -> AutoencoderKL:
    """Build an untrained autoencoder; its initial weights depend on torch's global seed."""
    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=32,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )


def to_unit_range(images: np.ndarray) -> torch.Tensor:
    """Convert uint8 [B, 32, 32] to float32 [B, 1, 32, 32] in [-1, 1]."""
    return torch.from_numpy(images).float().div(127.5).sub(1).unsqueeze(1)


def train_autoencoder(images: np.ndarray, folder: Path, seed: int, recipe: Recipe = RECIPE) -> AutoencoderKL:
    """Train on uint8 images [N, 32, 32] with squared error, a small KL term, and an anchor for the latents.

    The anchor pulls the posterior mean towards the pixel-unshuffled image, standardised over the data. The code stays
    lossless, and the latent grid gets the statistics of an image, zero mean and unit variance (scaling factor 1).
    """
    torch.manual_seed(seed)
    model = build().train()
    pixels = images[:: max(1, len(images) // 4096)].astype(np.float32) / 127.5 - 1
    mean, std = float(pixels.mean()), float(pixels.std())

    def loss_of_step(step: int) -> torch.Tensor:
        chosen = numpy_generator(seed, "autoencoder batch", step).integers(len(images), size=recipe.batch_size)
        x = to_unit_range(images[chosen])
        posterior = model.encode(x).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=torch_generator(seed, "autoencoder noise", step))
        decoded = model.decode(posterior.mean + posterior.std * noise).sample
        anchor = F.mse_loss(posterior.mean, (F.pixel_unshuffle(x, 2) - mean) / std)
        return F.mse_loss(decoded, x) + 0.1 * anchor + 1e-6 * posterior.kl().mean()

    average = train(model, recipe, loss_of_step, folder)
    model.load_state_dict(average, strict=True)
    return model.eval()


@torch.inference_mode()
def encode_all(model: AutoencoderKL, images: np.ndarray, batch_size: int = 500) -> torch.Tensor:
    """Encode uint8 images [N, 32, 32] to posterior means times the scaling factor: float32 [N, 4, 16, 16]."""
    parts = [model.encode(to_unit_range(part)).latent_dist.mean for part in _chunks(images, batch_size)]
    return torch.cat(parts).clone() * model.config.scaling_factor


def _chunks(array: np.ndarray, size: int) -> list[np.ndarray]:
    return [array[i : i + size] for i in range(0, len(array), size)]
