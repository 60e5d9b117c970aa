"""Image features for the Fréchet distance: the embedded small network, or pytorch-fid's Inception.

A distance is named after its network: FID is the Inception's alone, anything else is "FD (network)".
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bigain.core.files import sha256


class FeatureNetwork(Protocol):
    """Images [B, C, H, W] in [0, 1] -> features [B, D] float32; `metric` and `label` name the distance, `channels` says
    whether real images are shown to it in grey (1) or RGB (3)."""

    metric: str
    label: str
    dimensions: int
    channels: int

    def __call__(self, images: Tensor) -> Tensor: ...


class FashionNet(nn.Module):
    """A small multi-label classifier of grey 32x32 images; its 64 penultimate activations are the features."""

    metric = "fd"
    label = "FD (fashion-net)"
    dimensions = 64
    channels = 1

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
        """One logit a class: [B, 1, 32, 32] in [0, 1] -> [B, 10]."""
        return self.head(self.body(images * 2 - 1))

    def forward(self, images: Tensor) -> Tensor:
        """Features: [B, 1, 32, 32] in [0, 1] -> [B, 64]."""
        return self.body(images * 2 - 1)


class Inception(nn.Module):
    """pytorch-fid's Inception-v3 (2048 features), from a local copy of its weights; grey images become RGB.

    The one file that is no safetensors: it is opened only if its sha256 is `identity`, and then for tensors alone.
    Raises FileNotFoundError naming the file and where it comes from, ValueError naming one of another sha256.
    """

    metric = "fid"
    label = "FID"
    dimensions = 2048
    channels = 3

    def __init__(self, weights: Path, identity: str | None) -> None:
        super().__init__()
        from pytorch_fid import inception

        if not weights.is_file():
            raise FileNotFoundError(f"{weights} is missing: put the file of {inception.FID_WEIGHTS_URL} there")
        if (found := sha256(weights)) != identity:
            raise ValueError(
                f"{weights} is another file, or damaged, and is not opened: sha256 is {found}, expected is {identity}"
            )
        state = torch.load(weights, weights_only=True, map_location="cpu")
        # pytorch-fid can only download; for one call its loader hands out the local file instead.
        download, inception.load_state_dict_from_url = inception.load_state_dict_from_url, lambda *_, **__: state
        try:
            self.network = inception.InceptionV3([inception.InceptionV3.DEFAULT_BLOCK_INDEX]).eval()
        finally:
            inception.load_state_dict_from_url = download

    def forward(self, images: Tensor) -> Tensor:
        """Features: [B, 1 or 3, H, W] in [0, 1] -> [B, 2048]."""
        return self.network(images.expand(-1, 3, -1, -1))[0].flatten(1)


def load_network(name: str, weights: Path, identity: str | None = None) -> FeatureNetwork:
    """The feature network `name` ("fashion-net" or "inception") in evaluation mode. `identity` is the sha256 of the
    Inception's file, without which it is not opened.

    Raises ValueError for another name and for a weight file that does not fit, FileNotFoundError if it is missing.
    """
    if name == "inception":
        return Inception(weights, identity)
    if name != "fashion-net":
        raise ValueError(f"unknown feature network {name!r}. Allowed: fashion-net, inception.")
    network = FashionNet()
    try:
        network.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{weights} does not hold the weights of {name}: {error}") from error
    return network.eval()
