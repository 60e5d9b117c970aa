"""COCO 2017's validation split: 5,000 images with several classes each (48 with none) and at least five captions.

Images are read from `images/val2017/`, `val2017/` or `val2017.zip` as downloaded, annotations from `annotations/` or
`annotations_trainval2017.zip`.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bigain.core.files import naming
from bigain.datasets.base import Dataset
from bigain.datasets.photos import Store, leaves, photo_dataset, repeated
from bigain.datasets.prompts import PromptForm, prompt

IMAGES, CLASSES, UNLABELLED = 5000, 80, 48
PLACES = ("images/val2017", "val2017", "images/val2017.zip", "val2017.zip")
ARCHIVES = ("annotations_trainval2017.zip", "annotations/annotations_trainval2017.zip")
# The keys that are read from the entries of each list of a file. Other lists and keys are ignored.
FIELDS: dict[str, dict[str, dict[str, type]]] = {
    "instances": {
        "images": {"id": int, "file_name": str},
        "categories": {"id": int, "name": str},
        "annotations": {"id": int, "image_id": int, "category_id": int},
    },
    "captions": {"images": {"id": int}, "annotations": {"id": int, "image_id": int, "caption": str}},
}
SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can spell half a pair, which no file and no prompt can hold
LARGEST_ID = (1 << 63) - 1  # that results can store


def coco2017(folder: Path, form: PromptForm) -> Dataset:
    """Return all images in the order of their ids.

    An image's labels are those of all its instances, crowds included; its caption is the first in the file's order.
    """
    place = next((folder / place for place in PLACES if (folder / place).exists()), None)
    if place is None:
        raise FileNotFoundError(f"{folder} holds none of {', '.join(PLACES)}")
    instances, captions = _annotations(folder, "instances"), _annotations(folder, "captions")
    categories = instances.loadCats(sorted(instances.getCatIds()))
    if len(categories) != CLASSES:
        actual = f"instances_val2017.json has {len(categories)} categories"
        raise ValueError(f"{folder}: {actual}; the official one has {CLASSES}")
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
        labels=[tuple(sorted({index[entry["category_id"]] for entry in instances.imgToAnns[image]})) for image in ids],
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
    archives = [folder / archive for archive in ARCHIVES if (folder / archive).is_file()]
    if not (folder / name).is_file() and not archives:
        raise FileNotFoundError(f"{folder / name} is missing, and so is {ARCHIVES[0]}")
    place = folder if (folder / name).is_file() else archives[0]
    index = COCO()
    with naming(place / name):
        index.dataset = json.loads(Store(place).read(name).decode("utf-8"))
        _check(index.dataset, kind)
    with contextlib.redirect_stdout(io.StringIO()):
        index.createIndex()
    return index


def _check(content: Any, kind: str) -> None:
    """Raise ValueError if a file's lists, their entries or the ids that these refer to are not as they should be."""
    if not isinstance(content, dict):
        raise ValueError(f"must hold a mapping, not {type(content).__name__}")
    for name, fields in FIELDS[kind].items():
        entries = content.get(name)
        if not isinstance(entries, list):
            raise ValueError(f"{name} must be a list")
        for place, entry in enumerate(entries):
            _check_entry(f"{name}[{place}]", entry, fields)
        if (twice := repeated(entry["id"] for entry in entries)) is not None:
            raise ValueError(f"{name}: id {twice} occurs twice")
    known = {"image_id": _ids(content["images"]), "category_id": _ids(content.get("categories", ()))}
    for place, entry in enumerate(content["annotations"]):
        for key in known.keys() & FIELDS[kind]["annotations"]:
            if entry[key] not in known[key]:
                raise ValueError(f"annotations[{place}]: there is no {key} {entry[key]}")


def _check_entry(where: str, entry: Any, fields: dict[str, type]) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"{where} must be a mapping")
    for key, kind in fields.items():
        value = entry.get(key)
        if kind is int and not (type(value) is int and 0 <= value <= LARGEST_ID):
            raise ValueError(f"{where}: {key} must be a whole number from 0 to {LARGEST_ID}, not {value!r:.100}")
        if kind is str:
            _check_text(f"{where}: {key}", value, is_file=key == "file_name")


def _check_text(where: str, value: Any, is_file: bool) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{where} must be text, not {value!r:.100}")
    if is_file and leaves(value):
        raise ValueError(f"{where} {value!r:.100} leaves the folder")
    if SURROGATE.search(value):
        raise ValueError(f"{where} {value!r:.100} has half a surrogate pair")


def _ids(entries: Iterable[dict[str, Any]]) -> set[int]:
    return {entry["id"] for entry in entries}
