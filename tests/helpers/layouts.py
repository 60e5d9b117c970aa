"""The smallest folders that the readers of the data sets accept, so that a fuzz case costs milliseconds."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np

from bigain.core.records import write_table
from bigain.datasets import imagenet
from tests.helpers.official_layouts import BREEDS, CATEGORIES, photo

ITEMS, SCENES, IMAGES = 12, 5, 4


def write_fashion(folder: Path) -> Path:
    """Write items of labelled noise, and scenes of them."""
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 255, 784, dtype=np.uint8).tobytes() for _ in range(ITEMS)]
    columns = {"id": list(range(100, 100 + ITEMS)), "label": [k % 10 for k in range(ITEMS)], "pixels": pixels}
    write_table(folder / "items.parquet", columns, {})
    items = rng.integers(0, ITEMS, (SCENES, 4)).tolist()
    write_table(folder / "scenes.parquet", {"id": list(range(SCENES)), "items": items}, {})
    return folder


def pets_lines(first: int) -> list[str]:
    """Return one line of a list per breed; `first` is the number of the first image."""
    return [f"{name}_{first + k} {k + 1} {1 if name[0].isupper() else 2} 1" for k, name in enumerate(BREEDS)]


def write_pets(folder: Path) -> Path:
    """Write both lists with one image per breed, and a few of the images."""
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    for split, first in (("test", 0), ("trainval", 100)):
        lines = pets_lines(first)
        (folder / f"annotations/{split}.txt").write_text("# a comment\n" + "\n".join(lines) + "\n")
        for k, line in enumerate(lines[:IMAGES]):
            (folder / f"images/{line.split()[0]}.jpg").write_bytes(photo(k))
    return folder


def write_imagenet(folder: Path) -> Path:
    """Write a few images of two classes that both readers have."""
    for number in imagenet.IMAGENET_100[:2]:
        place = folder / "val" / imagenet.classes()[number][0]
        place.mkdir(parents=True)
        for k in range(IMAGES // 2):
            (place / f"ILSVRC2012_val_{k:08d}.JPEG").write_bytes(photo(k))
    return folder


def coco_texts() -> dict[str, dict]:
    """Return the two annotation files by name: 80 categories, and a few images with labels and captions."""
    images = [{"id": 100 + k, "file_name": f"{100 + k:012d}.jpg"} for k in range(IMAGES)]
    shown = [{"id": k, "image_id": 100 + k % 3, "category_id": CATEGORIES[k]} for k in range(IMAGES)]
    captions = [{"id": k, "image_id": 100 + k % IMAGES, "caption": f"caption {k}"} for k in range(2 * IMAGES)]
    categories = [{"id": number, "name": f"thing {number}"} for number in CATEGORIES]
    return {
        "annotations/instances_val2017.json": {"images": images, "annotations": shown, "categories": categories},
        "annotations/captions_val2017.json": {"images": images, "annotations": captions},
    }


def write_coco(folder: Path, zipped: bool) -> Path:
    """Write annotations and images, as folders or as archives."""
    texts = {name: json.dumps(content) for name, content in coco_texts().items()}
    if zipped:
        folder.mkdir(parents=True)
        with zipfile.ZipFile(folder / "annotations_trainval2017.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in texts.items():
                archive.writestr(name, content)
        with zipfile.ZipFile(folder / "val2017.zip", "w") as archive:
            for k in range(IMAGES):
                archive.writestr(f"val2017/{100 + k:012d}.jpg", photo(k))
        return folder
    for place in ("annotations", "val2017"):
        (folder / place).mkdir(parents=True)
    for name, content in texts.items():
        (folder / name).write_text(content)
    for k in range(IMAGES):
        (folder / f"val2017/{100 + k:012d}.jpg").write_bytes(photo(k))
    return folder


WRITERS = {
    "fashion": write_fashion,
    "fashion_scenes": write_fashion,
    "pets": write_pets,
    "pets_trainval": write_pets,
    "pets_all": write_pets,
    "imagenet1k": write_imagenet,
    "imagenet100": write_imagenet,
    "coco2017": lambda folder: write_coco(folder, zipped=False),
    "coco2017 zipped": lambda folder: write_coco(folder, zipped=True),
}
