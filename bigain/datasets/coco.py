"""COCO 2017's validation split: 5,000 images with several classes each (48 with none) and five captions or more.

Images are read from `images/val2017/`, `val2017/` or from `val2017.zip` as it comes; annotations from `annotations/` or
from `annotations_trainval2017.zip`.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bigain.core.validation import naming
from bigain.datasets.base import Dataset
from bigain.datasets.photos import Store, leaves, photo_dataset, repeated
from bigain.datasets.prompts import PromptForm, prompt

IMAGES, CLASSES, UNLABELLED = 5000, 80, 48
PLACES = ("images/val2017", "val2017", "images/val2017.zip", "val2017.zip")
ARCHIVES = ("annotations_trainval2017.zip", "annotations/annotations_trainval2017.zip")
# What is read of an entry of each list; every other list of a file is left alone.
FIELDS: dict[str, dict[str, dict[str, type]]] = {
    "instances": {
        "images": {"id": int, "file_name": str},
        "categories": {"id": int, "name": str},
        "annotations": {"id": int, "image_id": int, "category_id": int},
    },
    "captions": {"images": {"id": int}, "annotations": {"id": int, "image_id": int, "caption": str}},
}
HALF = re.compile("[\ud800-\udfff]")  # of a surrogate pair: JSON can spell it, and no file and no prompt can hold it
LARGEST_ID = (1 << 63) - 1  # of what results can store


def coco2017(folder: Path, form: PromptForm) -> Dataset:
    """All images in the order of their ids. Labels are over all instances, crowds too; an image's caption is the first
    in the file's order."""
    place = next((folder / place for place in PLACES if (folder / place).exists()), None)
    if place is None:
        raise FileNotFoundError(f"{folder} holds none of {', '.join(PLACES)}")
    instances, captions = _annotations(folder, "instances"), _annotations(folder, "captions")
    categories = instances.loadCats(sorted(instances.getCatIds()))
    if len(categories) != CLASSES:
        found = f"instances_val2017.json has {len(categories)} categories"
        raise ValueError(f"{folder}: {found}; the official one has {CLASSES}")
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
        raise ValueError(f"{folder}: captions_val2017.json has no caption of image {image} of instances_val2017.json")
    return annotations[0]["caption"].strip()


def _member(place: Path, file: str) -> str:
    return f"val2017/{file}" if place.is_file() else file


def _annotations(folder: Path, kind: str):  # noqa: ANN202 - pycocotools.coco.COCO, imported when it is needed
    from pycocotools.coco import COCO

    name = f"annotations/{kind}_val2017.json"
    archive = next((folder / one for one in ARCHIVES if (folder / one).is_file()), None)
    if not (folder / name).is_file() and archive is None:
        raise FileNotFoundError(f"{folder / name} is missing, and so is {ARCHIVES[0]}")
    place = folder if (folder / name).is_file() else archive
    index = COCO()
    with naming(place / name):
        index.dataset = json.loads(Store(place).read(name).decode("utf-8"))
        _check(index.dataset, kind)
    with contextlib.redirect_stdout(io.StringIO()):
        index.createIndex()
    return index


def _check(content: Any, kind: str) -> None:
    """Raises ValueError saying what is wrong with a file's lists, their entries or what these refer to."""
    if not isinstance(content, dict):
        raise ValueError(f"a mapping is needed, not {type(content).__name__}")
    for name, fields in FIELDS[kind].items():
        entries = content.get(name)
        if not isinstance(entries, list):
            raise ValueError(f"{name} has to be a list")
        for place, entry in enumerate(entries):
            _check_entry(f"{name}[{place}]", entry, fields)
        if (twice := repeated(entry["id"] for entry in entries)) is not None:
            raise ValueError(f"{name}: id {twice} is there twice")
    known = {"image_id": _ids(content["images"]), "category_id": _ids(content.get("categories", ()))}
    for place, entry in enumerate(content["annotations"]):
        for key in known.keys() & FIELDS[kind]["annotations"]:
            if entry[key] not in known[key]:
                raise ValueError(f"annotations[{place}]: there is no {key} {entry[key]}")


def _check_entry(where: str, entry: Any, fields: dict[str, type]) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"{where} has to be a mapping")
    for key, kind in fields.items():
        value = entry.get(key)
        if type(value) is not kind or (kind is int and not 0 <= value <= LARGEST_ID):
            wanted = "text" if kind is str else f"a whole number from 0 to {LARGEST_ID}"
            raise ValueError(f"{where}: {key} has to be {wanted}, not {value!r:.100}")
        if key == "file_name" and leaves(value):
            raise ValueError(f"{where}: file_name {value!r:.100} leaves the folder")
        if kind is str and HALF.search(value):
            raise ValueError(f"{where}: {key} {value!r:.100} holds half a character")


def _ids(entries: Iterable[dict[str, Any]]) -> set[int]:
    return {entry["id"] for entry in entries}
