"""pytorch-fid's Inception-v3, whose 2048 features the Fréchet Inception Distance compares."""

from __future__ import annotations

from pathlib import Path

import torch
import torchvision
from pytorch_fid import inception as fid
from torch import Tensor, nn
from torch.nn.functional import interpolate

from bigain.core.files import sha256
from bigain.measure.features import FeatureNetwork


class Inception(FeatureNetwork):
    """Inception-v3 with pytorch-fid's weights, read from a local file; grey images become RGB.

    The only weights that are not safetensors: the file is opened only if its sha256 is `identity`, and then for tensors
    alone. Raises FileNotFoundError with where to get a missing file, and ValueError for a file of another sha256.
    """

    channels = 3

    def __init__(self, weights: Path, identity: str | None) -> None:
        super().__init__()
        if not weights.is_file():
            raise FileNotFoundError(f"{weights} is missing: download {fid.FID_WEIGHTS_URL} to it")
        if (actual := sha256(weights)) != identity:
            raise ValueError(
                f"{weights} is another file, or damaged, and is not opened: sha256 is {actual}, expected is {identity}"
            )
        network = _untrained()
        network.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
        self.network = _up_to_pooling(network).eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Compute features: [B, 1 or 3, H, W] in [0, 1] -> [B, 2048]."""
        x = interpolate(images.expand(-1, 3, -1, -1), size=(299, 299), mode="bilinear", align_corners=False)
        return self.network(2 * x - 1).flatten(1)


def _untrained() -> nn.Module:
    """Build torchvision's Inception-v3 with the blocks that pytorch-fid replaces to match TensorFlow's.

    pytorch-fid's own constructor downloads the weights.
    """
    network = torchvision.models.inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    network.Mixed_5b = fid.FIDInceptionA(192, pool_features=32)
    network.Mixed_5c = fid.FIDInceptionA(256, pool_features=64)
    network.Mixed_5d = fid.FIDInceptionA(288, pool_features=64)
    network.Mixed_6b = fid.FIDInceptionC(768, channels_7x7=128)
    network.Mixed_6c = fid.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6d = fid.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6e = fid.FIDInceptionC(768, channels_7x7=192)
    network.Mixed_7b = fid.FIDInceptionE_1(1280)
    network.Mixed_7c = fid.FIDInceptionE_2(2048)
    return network


STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2")
MIXED = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")


def _up_to_pooling(network: nn.Module) -> nn.Sequential:
    """Return the layers up to the pooled features, without the classifier."""
    names = (*STEM, *(f"Mixed_{name}" for name in MIXED), "avgpool")
    return nn.Sequential(*(network.get_submodule(name) for name in names))
