"""The jobs that encode a data set once for all methods: its images to latents, its prompts to conditions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from bigain.backbones.base import padded
from bigain.datasets import load as load_dataset
from bigain.datasets.photos import centre_crop, pixels
from bigain.jobs.common import Spec, backbone_of, save_tensors, to_float
from bigain.jobs.photos import readable, refuse_unreadable, together


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
    step = together(size)
    for start in tqdm(range(0, len(dataset), step), desc="encode images"):
        photos = readable(dataset, range(start, min(start + step, len(dataset))), errors)
        if photos and len(errors) <= spec["dataset"]["allow_missing"]:
            images = np.stack([pixels(centre_crop(photo, size), channels) for photo in photos.values()])
            latents[list(photos)] = backbone.encode_images(padded(to_float(images), step))[: len(images)]
    refuse_unreadable(spec, errors)
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
