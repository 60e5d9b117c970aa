"""The jobs that encode a data set once for all methods: images to latents, prompts and captions to conditions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bigain.backbones.base import Backbone
from bigain.backbones.images import encode_batch, images_per_batch
from bigain.core.specs import EncodeConditionsSpec, EncodeImagesSpec
from bigain.datasets import load as load_dataset
from bigain.datasets.base import Dataset
from bigain.datasets.photos import centre_crop, pixels
from bigain.jobs.common import Stopwatch, backbone_of, save_tensors
from bigain.jobs.cut_prompts import reading_facts
from bigain.jobs.photos import check_unreadable, read_images


def encode_images(spec: EncodeImagesSpec, output: Path) -> None:
    """Encode the first `images` images: safetensors with `latents` [n, C, H, W], float32, and `unreadable` [k].

    `unreadable` holds the positions of images that could not be read, whose latents are zero; the classifier leaves
    them out. Raises ValueError naming the files if there are more of them than the data set's `allow_missing`.
    """
    stopwatch, backbone = Stopwatch(), backbone_of(spec["backbone"])
    dataset = load_dataset(spec["dataset"]).first(spec["images"])
    channels, size = backbone.image_shape
    latents = torch.zeros(len(dataset), *backbone.latent_shape)
    errors: dict[int, str] = {}
    step = images_per_batch(size)
    for start in tqdm(range(0, len(dataset), step), desc="encode images"):
        photos = read_images(dataset, range(start, min(start + step, len(dataset))), errors)
        if photos and len(errors) <= spec["dataset"]["allow_missing"]:
            images = np.stack([pixels(centre_crop(photo, size), channels) for photo in photos.values()])
            latents[list(photos)] = encode_batch(backbone, images)
    check_unreadable(spec["dataset"], errors)
    save_tensors(output, {"latents": latents, "unreadable": torch.tensor(sorted(errors), dtype=torch.int64)}, spec)
    stopwatch.write_provenance(output, spec, {}, backbone.device)


def encode_conditions(spec: EncodeConditionsSpec, output: Path) -> None:
    """Encode the prompts of the candidates, the null condition, and the captions of the first `captions` images:
    safetensors with `candidates` [K, ...], `null` [1, ...], and `captions` [k, ...] with `caption_of_image` [n].

    After the last image of the data set, captions begin anew. The provenance says which of them the model does not read
    to their end. Raises ValueError naming two candidates that only their unread ends tell apart.
    """
    stopwatch, backbone = Stopwatch(), backbone_of(spec["backbone"])
    dataset = load_dataset(spec["dataset"])
    candidates = list(dataset.prompts)
    captions, of_captions = _captions(backbone, dataset.cycled(spec["captions"])) if spec["captions"] else ([], {})
    facts = reading_facts(backbone, candidates, captions)
    tensors = {
        "candidates": backbone.conditions(candidates, list(dataset.class_ids or ())),
        "null": backbone.null_condition(),
        **of_captions,
    }
    save_tensors(output, tensors, spec)
    stopwatch.write_provenance(output, spec, {}, backbone.device, **facts)


def _captions(backbone: Backbone, dataset: Dataset) -> tuple[list[str], dict[str, Tensor]]:
    """Encode each distinct caption once, in sorted order; return the captions and the tensors.

    Two classes may share a prompt, so for a class-conditioned model captions of different classes are distinct.
    """
    class_ids = dataset.class_ids
    labels: Sequence[tuple[int, ...]] = [()] * len(dataset) if class_ids is None else dataset.labels
    captions = list(zip(dataset.captions, labels, strict=True))
    distinct = sorted(set(captions))
    ids = [] if class_ids is None else [class_ids[label[0]] for _, label in distinct]
    row = {caption: k for k, caption in enumerate(distinct)}
    texts = [caption for caption, _ in distinct]
    return texts, {
        "captions": backbone.conditions(texts, ids),
        "caption_of_image": torch.tensor([row[caption] for caption in captions]),
    }
