"""`fashion` and `fashion_scenes`: the committed part of Fashion-MNIST's test split, as single items and as scenes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from bigain.core.records import write_table
from bigain.core.rng import numpy_generator
from bigain.core.validation import read_columns
from bigain.datasets import fashion_mnist, scenes
from bigain.datasets.base import Dataset
from bigain.datasets.photos import repeated

ITEMS, SCENES = "items.parquet", "scenes.parquet"
PIXELS = 28 * 28
PROMPTS = tuple(map(fashion_mnist.prompt, fashion_mnist.CLASSES))


@dataclass(frozen=True)
class Canvases:
    """Grey 32x32 images in memory, by name: an ImageStore."""

    images: dict[str, np.ndarray]

    def has(self, name: str) -> bool:
        """Return whether there is an image of that name."""
        return name in self.images

    def read(self, name: str) -> bytes:
        """Return the pixels of an image."""
        return self.images[name].tobytes()

    def open(self, name: str) -> Image.Image:
        """Return an image."""
        return Image.fromarray(self.images[name])


def _items(folder: Path) -> tuple[list[int], list[int], np.ndarray]:
    path = folder / ITEMS
    table = read_columns(path, {"id": "integer", "label": "integer", "pixels": "bytes"})
    ids, labels, pixels = (table[name].to_pylist() for name in ("id", "label", "pixels"))
    _check_ids(path, ids)
    for item, label, stored in zip(ids, labels, pixels, strict=True):
        if not 0 <= label < len(PROMPTS):
            raise ValueError(f"{path}: label of image {item} is {label}; labels are from 0 to {len(PROMPTS) - 1}")
        if len(stored) != PIXELS:
            raise ValueError(f"{path}: pixels of image {item} are {len(stored)} bytes, must be {PIXELS}")
    return ids, labels, np.frombuffer(b"".join(pixels), dtype=np.uint8).reshape(-1, 28, 28)


def _check_ids(path: Path, ids: list[int]) -> None:
    if not ids:
        raise ValueError(f"{path} holds no images")
    if min(ids) < 0:
        raise ValueError(f"{path}: id {min(ids)} is below 0")
    if (twice := repeated(ids)) is not None:
        raise ValueError(f"{path}: id {twice} occurs twice")


def fashion(folder: Path) -> Dataset:
    """Return the single items: one class each, in an order in which every prefix is class-balanced."""
    ids, labels, pixels = _items(folder)
    files = [f"item {item}" for item in ids]
    return Dataset(
        name="fashion",
        class_names=fashion_mnist.CLASSES,
        prompts=PROMPTS,
        class_ids=tuple(range(len(PROMPTS))),
        ids=ids,
        labels=[(label,) for label in labels],
        captions=[PROMPTS[label] for label in labels],
        files=files,
        store=Canvases(dict(zip(files, fashion_mnist.pad(pixels), strict=True))),
    )


def fashion_scenes(folder: Path) -> Dataset:
    """Return 2x2 scenes of those items with one to four distinct classes: multi-label, as COCO is in the paper."""
    _, item_labels, pixels = _items(folder)
    path = folder / SCENES
    table = read_columns(path, {"id": "integer", "items": "list of integers"})
    ids, shown = table["id"].to_pylist(), table["items"].to_pylist()
    _check_ids(path, ids)
    for scene, places in zip(ids, shown, strict=True):
        if len(places) != 4 or not all(0 <= place < len(item_labels) for place in places):
            raise ValueError(f"{path}: items of scene {scene} are {places}; four of the {len(item_labels)} are needed")
    items = np.array(shown)
    classes = np.array(item_labels)[items]

    files = [f"scene {scene}" for scene in ids]
    return Dataset(
        name="fashion_scenes",
        class_names=fashion_mnist.CLASSES,
        prompts=PROMPTS,
        class_ids=tuple(range(len(PROMPTS))),
        ids=ids,
        labels=[tuple(sorted({int(c) for c in scene})) for scene in classes],
        captions=[scenes.caption(map(int, scene)) for scene in classes],
        files=files,
        store=Canvases(dict(zip(files, scenes.compose(pixels[items]), strict=True))),
    )


def write_items(official: Path, split: str, folder: Path, per_class: int) -> tuple[np.ndarray, np.ndarray]:
    """Write the first `per_class` items of every class of an official split, interleaved; return their ids and labels.

    An item's id is its position in the split.
    """
    images, labels = fashion_mnist.read_split(official, split)
    by_class = np.stack([np.flatnonzero(labels == c)[:per_class] for c in range(len(fashion_mnist.CLASSES))])
    ids = by_class.T.ravel()
    columns = {"id": ids.tolist(), "label": labels[ids].tolist(), "pixels": [image.tobytes() for image in images[ids]]}
    write_table(folder / ITEMS, columns, {"source": f"Fashion-MNIST {split} split", "per_class": per_class})
    return ids, labels[ids]


def write_scenes(folder: Path, labels: np.ndarray, count: int, seed: int) -> None:
    """Draw `count` scenes of a folder's items, whose classes are `labels`, and write them."""
    places = [np.flatnonzero(labels == c) for c in range(len(fashion_mnist.CLASSES))]
    drawn = [scenes.draw(places, numpy_generator(seed, "test scene", i)).tolist() for i in range(count)]
    write_table(folder / SCENES, {"id": list(range(count)), "items": drawn}, {"scenes": count, "seed": seed})
