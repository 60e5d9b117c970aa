"""COCO 2017's validation split: 5,000 images with several classes each (48 with none) and five captions or more.

Images are read from `images/val2017/`, `val2017/` or from `val2017.zip` as it comes; annotations from `annotations/` or
from `annotations_trainval2017.zip`.
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

from bigain.datasets.base import Dataset
from bigain.datasets.photos import Store, photo_dataset
from bigain.datasets.prompts import PromptForm, prompt

IMAGES, CLASSES, UNLABELLED = 5000, 80, 48
PLACES = ("images/val2017", "val2017", "images/val2017.zip", "val2017.zip")
ARCHIVES = ("annotations_trainval2017.zip", "annotations/annotations_trainval2017.zip")


def coco2017(folder: Path, form: PromptForm) -> Dataset:
    """All images in the order of their ids. Labels are over all instances, crowds too; an image's caption is the first
    in the file's order."""
    place = next((folder / place for place in PLACES if (folder / place).exists()), None)
    if place is None:
        raise FileNotFoundError(f"{folder} holds none of {', '.join(PLACES)}")
    instances, captions = _annotations(folder, "instances"), _annotations(folder, "captions")
    categories = instances.loadCats(sorted(instances.getCatIds()))
    if len(categories) != CLASSES:
        raise ValueError(f"{folder}: the instances have {len(categories)} categories; the official ones {CLASSES}")
    index = {category["id"]: c for c, category in enumerate(categories)}
    ids = sorted(instances.getImgIds())
    return photo_dataset(
        Store(place),
        [_member(place, instances.imgs[image]["file_name"]) for image in ids],
        name="coco2017",
        class_names=[category["name"] for category in categories],
        prompts=[prompt(category["name"], form) for category in categories],
        class_ids=None,
        ids=ids,
        labels=[tuple(sorted({index[one["category_id"]] for one in instances.imgToAnns[image]})) for image in ids],
        captions=[_first_caption(folder, captions.imgToAnns[image], image) for image in ids],
    )


def _first_caption(folder: Path, annotations: list[dict], image: int) -> str:
    if not annotations:
        raise ValueError(f"{folder}: image {image} has no caption")
    return annotations[0]["caption"].strip()


def _member(place: Path, file: str) -> str:
    return f"val2017/{file}" if place.is_file() else file


def _annotations(folder: Path, kind: str):  # noqa: ANN202 - pycocotools.coco.COCO, imported when it is needed
    from pycocotools.coco import COCO

    name = f"annotations/{kind}_val2017.json"
    archive = next((folder / one for one in ARCHIVES if (folder / one).is_file()), None)
    if not (folder / name).is_file() and archive is None:
        raise FileNotFoundError(f"{folder / name} is missing, and so is {ARCHIVES[0]}")
    path = folder / name
    try:
        content = path.read_bytes() if path.is_file() else Store(archive).read(name)
        index = COCO()
        index.dataset = json.loads(content)
        with contextlib.redirect_stdout(io.StringIO()):
            index.createIndex()
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path if path.is_file() else archive}: {name} is damaged ({error})") from error
    return index
