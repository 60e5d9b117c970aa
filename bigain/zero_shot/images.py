"""Images of any kind as the model sees them, and the ids that their noise is keyed by."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.backbones.images import encode_batch, images_per_batch
from bigain.core.rng import seed_for
from bigain.datasets.images import ImageLike, open_image
from bigain.datasets.photos import centre_crop, pixels


def listed(images: ImageLike | Iterable[ImageLike]) -> list[ImageLike]:
    """Return images as a list: a single one, a list of them, or a batch [N, H, W, C] (array) or [N, C, H, W] (tensor).

    Raises ValueError if there are none, TypeError for what is no image and no list.
    """
    if isinstance(images, str | Path | Image.Image):
        return [images]
    if isinstance(images, np.ndarray | torch.Tensor) and images.ndim < 4:
        return [images]
    if not isinstance(images, Iterable):
        raise TypeError(f"images are {images!r}; pass an image, or a list of paths, PIL images, arrays or tensors")
    items = list(images)
    if not items:
        raise ValueError("images are empty: pass at least one image")
    return items


def as_seen(images: Sequence[ImageLike], channels: int, size: int) -> Iterator[np.ndarray]:
    """Yield each image as the model sees it: its short side resized to `size`, the middle cropped, uint8 [C, S, S].

    Colours become luma for a model of grey images. Raises UnreadableImage naming an image that cannot be read.
    """
    for position, image in enumerate(images):
        name = str(image) if isinstance(image, str | Path) else f"image {position}"
        yield pixels(centre_crop(open_image(image, name), size), channels)


def encoded(
    backbone: Backbone, images: Sequence[ImageLike], ids: Sequence[int] | None
) -> tuple[list[int], dict[int, Tensor]]:
    """Return the id of every image, by its pixels unless `ids` are stated, and the latents [C, H, W] by id.

    Raises what `as_seen` raises.
    """
    channels, size = backbone.image_shape
    keys: list[int] = []
    latents: dict[int, Tensor] = {}
    step, seen = images_per_batch(size), as_seen(images, channels, size)
    for start in range(0, len(images), step):
        batch = np.stack([next(seen) for _ in images[start : start + step]])
        new = [content_id(image) for image in batch] if ids is None else ids[start : start + step]
        keys += new
        latents.update(zip(new, encode_batch(backbone, batch), strict=True))
    return keys, latents


def content_id(image: np.ndarray) -> int:
    """Return an id of an image's pixels, so that neither its place in a list nor its name changes its noise."""
    return seed_for("image", hashlib.sha256(image.tobytes()).hexdigest())


def checked_ids(ids: Sequence[Any] | None, count: int) -> list[int] | None:
    """Return the caller's image ids. Raises ValueError unless there is a whole number for each image, all distinct."""
    if ids is None:
        return None
    try:
        numbers = [operator.index(image_id) for image_id in ids]
    except TypeError:
        raise ValueError(f"ids have to be whole numbers, not {list(ids)!r}") from None
    if len(numbers) != count or len(set(numbers)) < count:
        raise ValueError(f"ids have to be {count} distinct whole numbers, one for each image, not {len(set(numbers))}")
    return numbers
