"""The job that computes the features of real images, which generated ones are compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from bigain.datasets import load as load_dataset
from bigain.datasets.photos import centre_crop, pixels
from bigain.jobs.common import Spec, save_tensors, to_float
from bigain.jobs.features import feature_network, features_of
from bigain.jobs.photos import readable, refuse_unreadable
from bigain.metrics.frechet import statistics


def reference_features(spec: Spec, output: Path) -> None:
    """Features of all real images of a data set: safetensors with `features` [N, D], and their `mu` and `sigma`.

    The recipe says how a photo meets the network: its centre `crop`, resized, or as it is (`squash`: the Inception
    resizes it to its own square). Raises ValueError as `encode_images` does.
    """
    network = feature_network(spec["feature_network"], spec["device"])
    dataset, recipe = load_dataset(spec["dataset"]), spec["recipe"]
    errors: dict[int, str] = {}
    features = []
    for start in tqdm(range(0, len(dataset), recipe["batch"]), desc="features"):
        images = []
        photos = readable(dataset, range(start, min(start + recipe["batch"], len(dataset))), errors)
        for photo in photos.values():
            if recipe["crop"] == "centre":
                photo = centre_crop(photo, recipe["size"], recipe["filter"])
            images.append(pixels(photo, network.channels))
        groups = [images] if recipe["crop"] == "centre" else [[image] for image in images]  # one shape together
        features += [features_of(network, to_float(np.stack(group))) for group in groups if group]
    refuse_unreadable(spec, errors)
    joined = torch.cat(features)
    mu, sigma = (torch.from_numpy(part) for part in statistics(joined.numpy()))
    save_tensors(output, {"features": joined, "mu": mu, "sigma": sigma}, spec)
