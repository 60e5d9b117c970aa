"""The official layouts of Pets, ImageNet and COCO at their full counts, with a few tiny real photos linked many times.

`python -m tests.helpers.official_layouts` writes what config/paper_smoke.yaml needs.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from bigain.datasets import coco, imagenet, pets

CATS = (
    "Abyssinian Bengal Birman Bombay British_Shorthair Egyptian_Mau Maine_Coon Persian Ragdoll Russian_Blue Siamese "
    "Sphynx"
)
DOGS = (
    "american_bulldog american_pit_bull_terrier basset_hound beagle boxer chihuahua english_cocker_spaniel "
    "english_setter german_shorthaired great_pyrenees havanese japanese_chin keeshond leonberger miniature_pinscher "
    "newfoundland pomeranian pug saint_bernard samoyed scottish_terrier shiba_inu staffordshire_bull_terrier "
    "wheaten_terrier yorkshire_terrier"
)
BREEDS = sorted([*CATS.split(), *DOGS.split()], key=str.lower)
# Official category ids have gaps: 80 of 90.
CATEGORIES = [number for number in range(1, 91) if number not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]


def photo(number: int, size: tuple[int, int] = (24, 16), mode: str = "RGB") -> bytes:
    """Return a JPEG of smooth colours, a different one for each number."""
    width, height = size
    rng = np.random.default_rng(number)
    channels = len(Image.new(mode, (1, 1)).getbands())
    coarse = rng.integers(0, 255, size=(3, 4, channels), dtype=np.uint8).squeeze()
    buffer = io.BytesIO()
    Image.fromarray(coarse, mode).resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


class _Photos:
    """A few photos, of different shapes and colours, linked under many names."""

    def __init__(self, folder: Path, size: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        kinds = [((3 * size, 2 * size), "RGB"), ((2 * size, 3 * size), "RGB"), ((2 * size, 2 * size), "L")]
        kinds.append(((3 * size, 2 * size), "CMYK"))
        self.files = [folder / f"{k}.jpg" for k in range(len(kinds))]
        for k, (shape, mode) in enumerate(kinds):
            self.files[k].write_bytes(photo(k, shape, mode))
        self._used = 0

    def link(self, target: Path) -> None:
        os.link(self.files[self._used % len(self.files)], target)
        self._used += 1


def write_pets(folder: Path, size: int = 8) -> Path:
    """Write `images/` and `annotations/` with both lists, and two images that neither list names."""
    photos = _Photos(folder / "photos", size)
    (folder / "images").mkdir()
    (folder / "annotations").mkdir()
    counters = dict.fromkeys(BREEDS, 0)
    for split, count in (("test", pets.TEST), ("trainval", pets.TRAINVAL)):
        lines = []
        for place in range(count):
            breed = place * pets.CLASSES // count  # the official lists go breed by breed
            name = BREEDS[breed]
            counters[name] += 1
            species = 1 if name[0].isupper() else 2
            lines.append(f"{name}_{counters[name]} {breed + 1} {species} 1")
            photos.link(folder / "images" / f"{name}_{counters[name]}.jpg")
        (folder / "annotations" / f"{split}.txt").write_text("\n".join(lines) + "\n")
    for name in ("Abyssinian_901", "beagle_902"):
        photos.link(folder / "images" / f"{name}.jpg")
    return folder


def write_imagenet(folder: Path, numbers: tuple[int, ...] | range = range(1000), size: int = 8) -> Path:
    """Write `val/<wnid>/ILSVRC2012_val_*.JPEG`, 50 images per class."""
    photos = _Photos(folder / "photos", size)
    for number in numbers:
        wnid, _ = imagenet.classes()[number]
        (folder / "val" / wnid).mkdir(parents=True)
        for k in range(imagenet.PER_CLASS):
            photos.link(folder / "val" / wnid / f"ILSVRC2012_val_{k * 1000 + number + 1:08d}.JPEG")
    return folder


def write_coco(folder: Path, zipped: bool, size: int = 8) -> Path:
    """Write annotations and images, as folders or as the published archives; 48 images have no annotations."""
    photos = _Photos(folder / "photos", size)
    rng = np.random.default_rng(0)
    ids = sorted(rng.choice(np.arange(100, 600_000), size=coco.IMAGES, replace=False).tolist())
    unlabelled = set(rng.choice(ids, size=coco.UNLABELLED, replace=False).tolist())
    names = {image: f"{image:012d}.jpg" for image in ids}
    annotations: list[dict] = []
    captions: list[dict] = []
    for image in ids:
        shown = [] if image in unlabelled else rng.choice(CATEGORIES, size=rng.integers(1, 5)).tolist()
        for category in shown:
            annotations.append({"id": len(annotations), "image_id": image, "category_id": category, "iscrowd": 0})
        captions += [{"image_id": image, "caption": f"caption {k} of image {image} \n"} for k in range(5)]
    rng.shuffle(captions)
    for number, caption in enumerate(captions):
        caption["id"] = number
    images = [{"id": image, "file_name": names[image]} for image in rng.permutation(ids).tolist()]
    categories = [{"id": number, "name": f"thing {number}"} for number in reversed(CATEGORIES)]
    texts = {
        "annotations/instances_val2017.json": {"images": images, "annotations": annotations, "categories": categories},
        "annotations/captions_val2017.json": {"images": images, "annotations": captions},
    }
    if zipped:
        with zipfile.ZipFile(folder / "annotations_trainval2017.zip", "w") as archive:
            for name, content in texts.items():
                archive.writestr(name, json.dumps(content))
        with zipfile.ZipFile(folder / "val2017.zip", "w") as archive:
            for k, image in enumerate(ids):
                archive.writestr(f"val2017/{names[image]}", photos.files[k % len(photos.files)].read_bytes())
        return folder
    (folder / "annotations").mkdir()
    for name, content in texts.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "images" / "val2017").mkdir(parents=True)
    for image in ids:
        photos.link(folder / "images" / "val2017" / names[image])
    return folder


if __name__ == "__main__":
    write_pets(Path("data/rehearsal/pets"), size=200)
    write_imagenet(Path("data/rehearsal/imagenet"), imagenet.IMAGENET_100, size=200)
    write_coco(Path("data/rehearsal/coco"), zipped=True, size=200)
