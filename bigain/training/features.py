"""`fashion-net`, the small classifier whose features the Fréchet distance of the embedded study compares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from bigain.core.rng import numpy_generator
from bigain.measure.features import FashionNet
from bigain.training.loop import Recipe, train

RECIPE = Recipe(steps=3500, batch_size=64, learning_rate=2e-3, warmup=100, decay_fraction=0.7, ema_decay=0.99)


def to_network_range(images: np.ndarray) -> torch.Tensor:
    """Convert uint8 [B, 32, 32] to float32 [B, 1, 32, 32] in [0, 1]."""
    return torch.from_numpy(images).float().div(255).unsqueeze(1)


def train_features(
    images: np.ndarray, present: np.ndarray, folder: Path, seed: int, recipe: Recipe = RECIPE
) -> FashionNet:
    """Train on uint8 images [N, 32, 32] and the classes present in them, bool [N, 10]."""
    torch.manual_seed(seed)
    model = FashionNet().train()
    targets = torch.from_numpy(present).float()

    def loss_of_step(step: int) -> torch.Tensor:
        chosen = numpy_generator(seed, "features batch", step).integers(len(images), size=recipe.batch_size)
        return F.binary_cross_entropy_with_logits(model.logits(to_network_range(images[chosen])), targets[chosen])

    train(model, recipe, loss_of_step, folder)
    return model.eval()  # the last weights, not their average: batch norm's running averages belong to them
