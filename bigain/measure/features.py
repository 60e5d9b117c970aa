"""Networks whose features the Fréchet distance compares: the embedded fashion-net, or pytorch-fid's Inception.

With Inception features the distance is FID; with any other it is called "FD (network)".
"""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn


class FeatureNetwork(nn.Module):
    """Maps images [B, C, H, W] in [0, 1] to features [B, D], float32."""

    channels: int  # of the real images it is shown: 1 (grey) or 3 (RGB)


class FashionNet(FeatureNetwork):
    """A small multi-label classifier of grey 32x32 images, whose 64 penultimate activations are the features."""

    channels = 1
    dimensions = 64

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, stride=2, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * 4 * 4, self.dimensions),
            nn.ReLU(),
        )
        self.head = nn.Linear(self.dimensions, 10)

    def logits(self, images: Tensor) -> Tensor:
        """Compute one logit per class: [B, 1, 32, 32] in [0, 1] -> [B, 10]."""
        return self.head(self.body(images * 2 - 1))

    def forward(self, images: Tensor) -> Tensor:
        """Compute features: [B, 1, 32, 32] in [0, 1] -> [B, 64]."""
        return self.body(images * 2 - 1)


def load_network(name: str, weights: Path, identity: str | None = None) -> FeatureNetwork:
    """Load the feature network `name` ("fashion-net" or "inception") in evaluation mode.

    `identity` is the sha256 of the Inception's weights, which are not opened without it. Raises ValueError for another
    name and for weights that do not fit, FileNotFoundError if they are missing.
    """
    if name == "inception":
        from bigain.measure.inception import Inception  # imports torchvision

        return Inception(weights, identity)
    if name != "fashion-net":
        raise ValueError(f"unknown feature network {name!r}. Allowed: fashion-net, inception.")
    network = FashionNet()
    try:
        network.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{weights} does not hold the weights of {name}: {error}") from error
    return network.eval()
