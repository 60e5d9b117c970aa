"""The job that computes features of real images, which those of generated images are compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from bigain.backbones.devices import device_of
from bigain.backbones.images import to_float
from bigain.core.specs import ReferenceSpec
from bigain.datasets import load as load_dataset
from bigain.datasets.photos import centre_crop, pixels
from bigain.jobs.common import Stopwatch, save_tensors
from bigain.jobs.features import feature_network, features_of
from bigain.jobs.photos import check_unreadable, read_images
from bigain.metrics.frechet import statistics


def reference_features(spec: ReferenceSpec, output: Path) -> None:
    """Compute features of all images of a data set: safetensors with `features` [N, D], and their `mu` and `sigma`.

    The recipe says whether the network sees the resized centre `crop` of a photo, or the photo itself (`squash`), which
    the Inception resizes to a square. Raises ValueError naming the files if too many images are unreadable.
    """
    stopwatch, network = Stopwatch(), feature_network(spec["feature_network"], spec["device"])
    dataset, recipe = load_dataset(spec["dataset"]), spec["recipe"]
    errors: dict[int, str] = {}
    features = []
    for start in tqdm(range(0, len(dataset), recipe["batch"]), desc="features"):
        images = []
        positions = range(start, min(start + recipe["batch"], len(dataset)))
        photos = read_images(dataset, positions, errors)
        for photo in photos.values():
            if recipe["crop"] == "centre":
                photo = centre_crop(photo, recipe["size"], recipe["filter"])
            images.append(pixels(photo, network.channels))
        groups = [images] if recipe["crop"] == "centre" else [[image] for image in images]  # of one shape each
        features += [features_of(network, to_float(np.stack(group))) for group in groups if group]
    check_unreadable(spec["dataset"], errors)
    joined = torch.cat(features)
    mu, sigma = (torch.from_numpy(statistic) for statistic in statistics(joined.numpy()))
    save_tensors(output, {"features": joined, "mu": mu, "sigma": sigma}, spec)
    stopwatch.write_provenance(output, spec, {}, device_of(spec["device"]))
