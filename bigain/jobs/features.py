"""The study's feature network, for the jobs that need features of images."""

from __future__ import annotations

import torch
from torch import Tensor

from bigain.backbones.devices import device_of
from bigain.core.places import located
from bigain.core.specs import FeatureNetworkSpec
from bigain.measure.features import FeatureNetwork, load_network


def feature_network(settings: FeatureNetworkSpec, device: str) -> FeatureNetwork:
    """Load the feature network of a study onto a device."""
    return load_network(settings["name"], located(settings["weights"]), settings["sha256"]).to(device_of(device))


@torch.inference_mode()
def features_of(network: FeatureNetwork, images: Tensor) -> Tensor:
    """Compute the features of images [B, C, H, W] in [0, 1], on the CPU."""
    return network(images.to(next(network.parameters()).device)).cpu()
