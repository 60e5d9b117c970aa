"""The bodies of the jobs that come before the cells: what all methods share, and calibrations of structural ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from bigain import backbones
from bigain.backbones.base import Backbone
from bigain.datasets import load as load_dataset
from bigain.datasets import unreadable_message
from bigain.datasets.base import Dataset, UnreadableImage
from bigain.datasets.photos import centre_crop, crops, pixels
from bigain.files import whole_file
from bigain.measure.features import FeatureNetwork, load_network
from bigain.metrics.frechet import statistics
from bigain.records import canonical
from bigain.schedule import Stages
from bigain.structural import dip_go, mosaicdiff
from bigain.structural.data import CalibrationData
from bigain.structural.runs import ClassificationRun, GenerationRun, Run
from bigain.variants import method_of

Spec = dict[str, Any]
PIXELS_TOGETHER = 64 * 32 * 32  # of a batch of images: 64 of the embedded study's, one photo of 512 x 512


def encode_images(spec: Spec, output: Path) -> None:
    """Latents of a data set's first `images` images: safetensors with `latents` [n, C, H, W], float32, and `unreadable`
    [k], the places of images that could not be read (zeros stand there; the classifier leaves them out).

    Raises ValueError naming the files if more are unreadable than the data set's `allow_missing`.
    """
    backbone = backbone_of(spec)
    dataset = load_dataset(spec["dataset"]).first(spec["images"])
    channels, size = backbone.image_shape
    latents = torch.zeros(len(dataset), *backbone.latent_shape)
    errors: dict[int, str] = {}
    step = max(1, PIXELS_TOGETHER // size**2)
    for start in tqdm(range(0, len(dataset), step), desc="encode images"):
        photos = _readable(dataset, range(start, min(start + step, len(dataset))), errors)
        if photos and len(errors) <= spec["dataset"]["allow_missing"]:
            images = np.stack([pixels(centre_crop(photo, size), channels) for photo in photos.values()])
            latents[list(photos)] = backbone.encode_images(to_float(images))
    _refuse_unreadable(spec, errors)
    save_tensors(output, {"latents": latents, "unreadable": torch.tensor(sorted(errors), dtype=torch.int64)}, spec)


def encode_conditions(spec: Spec, output: Path) -> None:
    """Conditions of the candidates, the null condition, and those of the first `captions` captions."""
    backbone = backbone_of(spec)
    dataset = load_dataset(spec["dataset"])
    tensors = {
        "candidates": backbone.conditions(list(dataset.prompts), list(dataset.class_ids or ())),
        "null": backbone.null_condition(),
    }
    if spec["captions"]:
        part = dataset.first(spec["captions"])
        # Two classes may share a prompt, so a class-conditioned model's caption is its class.
        wanted = part.captions if dataset.class_ids is None else list(zip(part.captions, part.labels, strict=True))
        place = {one: k for k, one in enumerate(sorted(set(wanted)))}
        captions = list(place) if dataset.class_ids is None else [caption for caption, _ in place]
        ids = [] if dataset.class_ids is None else [dataset.class_ids[labels[0]] for _, labels in place]
        tensors["captions"] = backbone.conditions(captions, ids)
        tensors["caption_of_image"] = torch.tensor([place[one] for one in wanted])
    save_tensors(output, tensors, spec)


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
        photos = _readable(dataset, range(start, min(start + recipe["batch"], len(dataset))), errors)
        for photo in photos.values():
            if recipe["crop"] == "centre":
                photo = centre_crop(photo, recipe["size"], recipe["filter"])
            images.append(pixels(photo, network.channels))
        groups = [images] if recipe["crop"] == "centre" else [[image] for image in images]  # one shape together
        features += [features_of(network, to_float(np.stack(group))) for group in groups if group]
    _refuse_unreadable(spec, errors)
    joined = torch.cat(features)
    mu, sigma = (torch.from_numpy(part) for part in statistics(joined.numpy()))
    save_tensors(output, {"features": joined, "mu": mu, "sigma": sigma}, spec)


def calibrate(spec: Spec, output: Path) -> None:
    """Calibrate a structural method on the first images of a data set: what `bigain.structural` found, safetensors."""
    backbone = backbone_of(spec)
    method = method_of(spec["method"])
    dataset = load_dataset(spec["dataset"]).first(spec["images"])
    channels, size = backbone.image_shape
    step = max(1, PIXELS_TOGETHER // size**2)
    parts = [range(start, min(start + step, len(dataset))) for start in range(0, len(dataset), step)]
    latents = torch.cat([backbone.encode_images(to_float(crops(dataset, part, size, channels))) for part in parts])
    candidates = backbone.conditions(list(dataset.prompts), list(dataset.class_ids or ()))
    data = CalibrationData(
        ids=list(dataset.ids),
        latents=latents.clone(),
        conditions=candidates[[labels[0] for labels in dataset.labels]].clone(),
        null=backbone.null_condition().clone(),  # clones, unlike what inference mode gives, can be differentiated
    )
    if method.operator == "mosaicdiff":
        mosaicdiff.calibrate(backbone, data, method, spec["reduction"], spec["seed"]).save(output)
        return
    settings = spec["protocol"]

    def run_of(part: CalibrationData) -> Run:
        if "stages" in settings:
            stages = Stages(tuple(settings["stages"]), tuple(settings["keep"]))
            return ClassificationRun(backbone, part, stages, len(candidates), spec["seed"])
        return GenerationRun(backbone, part, settings["steps"], settings["guidance"], spec["seed"])

    found = dip_go.calibrate(backbone, data, run_of, method, spec["reduction"], spec["seed"], spec["updates"])
    found.save(output)


def backbone_of(spec: Spec) -> Backbone:
    """The backbone that a spec names, on its device."""
    settings = spec["backbone"]
    return backbones.load(settings["family"], settings["path"], device_of(settings["device"]), settings["dtype"])


def sites_of(spec: Spec) -> dict[str, Any]:
    """Where a method acts, as `compressed` takes it."""
    settings = spec["backbone"]
    places = {name: _tuple(settings.get(name)) for name in ("levels", "blocks")}
    return {**places, "metric_site": settings.get("metric_site")}


def _tuple(value: list[int] | None) -> tuple[int, ...] | None:
    return None if value is None else tuple(value)


def device_of(name: str) -> str:
    """`auto` is the GPU if there is one."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def feature_network(settings: dict[str, str], device: str) -> FeatureNetwork:
    """The feature network of a study, on a device."""
    return load_network(settings["name"], Path(settings["weights"])).to(device_of(device))


@torch.inference_mode()
def features_of(network: FeatureNetwork, images: Tensor) -> Tensor:
    """Features of images [B, C, H, W] in [0, 1], on the CPU."""
    return network(images.to(next(network.parameters()).device)).cpu()


def save_tensors(path: Path, tensors: dict[str, Tensor], spec: Spec) -> None:
    """Write tensors whole or not at all, with the spec that made them."""
    with whole_file(path) as temporary:
        save_file({name: t.contiguous() for name, t in tensors.items()}, temporary, {"spec": canonical(spec)})


def _readable(dataset: Dataset, positions: range, errors: dict[int, str]) -> dict[int, Image.Image]:
    """The images that can be read, by position; what is wrong with the others goes to `errors`."""
    readable = {}
    for i in positions:
        try:
            readable[i] = dataset.open(i)
        except UnreadableImage as error:
            errors[i] = str(error)
    return readable


def _refuse_unreadable(spec: Spec, errors: dict[int, str]) -> None:
    allowed = spec["dataset"]["allow_missing"]
    if len(errors) > allowed:
        raise ValueError(f"{spec['dataset']['id']}: {unreadable_message(list(errors.values()), allowed)}")
    for error in errors.values():
        print(f"left out: {error}")


def to_float(images: np.ndarray) -> Tensor:
    """uint8 [n, C, H, W] -> float32 in [0, 1]."""
    return torch.from_numpy(images).float() / 255
