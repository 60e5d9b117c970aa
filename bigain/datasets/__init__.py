"""Data sets: ids, labels, prompts and pixels, without torch. One file per data set, one entry in `SOURCES` each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bigain.core.files import naming
from bigain.core.places import located
from bigain.datasets import coco, imagenet, pets
from bigain.datasets.base import Dataset
from bigain.datasets.fashion_study import fashion, fashion_scenes
from bigain.datasets.folder import folder, pictures
from bigain.datasets.prompts import PromptForm

MOST_DIGITS = 12  # of a position in a subset
FOLDER_READERS = ("folder", "pictures")  # of your own images, all of whose files identify them
OF_FOLDER = ("labels", "prompt", "class_names", "class_ids")  # settings of the reader `folder` alone


@dataclass(frozen=True)
class Source:
    """A reader: how a folder becomes a data set, and what is known about an official set before it is on disk.

    `load` takes the folder and the data set's settings. `images` and `classes` are None where the folder decides.
    `layout` says which files belong where, `of_models` whether the classes are those of class-conditioned models,
    `forms` which prompts there are, `own_captions` whether images have several labels, and captions of their own to
    generate from, instead of their class's prompt, `downloadable` whether the licence lets us download it, `splits`
    which splits of the layout the reader takes.
    """

    load: Callable[[Path, Mapping[str, Any]], Dataset]
    images: int | None = None
    classes: int | None = None
    layout: str = ""
    of_models: bool = False
    forms: tuple[PromptForm, ...] = ("paper", "released")
    own_captions: bool = False
    downloadable: bool = False
    splits: tuple[str, ...] = ("all",)

    @property
    def official(self) -> bool:
        """Return whether this is a published data set, which may be missing on this machine."""
        return bool(self.layout)


def _in_form(read: Callable[[Path, PromptForm], Dataset]) -> Callable[[Path, Mapping[str, Any]], Dataset]:
    """Return the `load` of a reader that of all settings takes the form of its prompts alone."""
    return lambda path, settings: read(path, settings.get("prompts", "paper"))


PETS = "images/*.jpg and annotations/*.txt of Oxford-IIIT Pets; `bigain fetch pets` downloads them (CC BY-SA 4.0)"
IMAGENET = (
    "val/<wnid>/*.JPEG of ILSVRC 2012, 50 images per class. Its terms forbid passing it on: get ILSVRC2012_img_val.tar "
    "and ILSVRC2012_devkit_t12.tar.gz from image-net.org, then `bigain fetch imagenet1k --archives FOLDER` unpacks them"
)
COCO = (
    "val2017.zip (or val2017/) and annotations_trainval2017.zip (or annotations/); `bigain fetch coco2017` downloads "
    "them (annotations CC BY 4.0, images under their Flickr licences)"
)
SOURCES: dict[str, Source] = {
    "fashion": Source(lambda path, _: fashion(path), of_models=True, forms=("paper",)),
    "fashion_scenes": Source(lambda path, _: fashion_scenes(path), of_models=True, forms=("paper",), own_captions=True),
    "pets": Source(_in_form(pets.pets), pets.TEST, pets.CLASSES, PETS, downloadable=True, splits=("test",)),
    "pets_trainval": Source(_in_form(pets.pets_trainval), pets.TRAINVAL, pets.CLASSES, PETS, splits=("trainval",)),
    "pets_all": Source(_in_form(pets.pets_all), None, pets.CLASSES, PETS, splits=("test", "trainval")),
    "imagenet1k": Source(_in_form(imagenet.imagenet1k), 50_000, 1000, IMAGENET, of_models=True),
    "imagenet100": Source(_in_form(imagenet.imagenet100), 5000, 100, IMAGENET, of_models=True),
    "coco2017": Source(_in_form(coco.coco2017), coco.IMAGES, coco.CLASSES, COCO, own_captions=True, downloadable=True),
    "folder": Source(folder, forms=("paper",)),
    "pictures": Source(pictures, forms=("paper",)),  # the `reference` of a folder
}


def load(settings: Mapping[str, Any]) -> Dataset:
    """Read the data set that `reader`, `path` and, optionally, `prompts`, `candidates`, `subset` and the settings of
    `folder` describe.

    Raises FileNotFoundError or ValueError naming the file that is missing or broken and what belongs there, and
    ValueError if candidates or the subset do not fit.
    """
    source, path = SOURCES[settings["reader"]], located(settings["path"])
    try:
        dataset = source.load(path, settings)
    except (FileNotFoundError, ValueError) as error:
        if source.official:
            kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
            raise kind(f"{error}. {path} must hold {source.layout}") from error
        raise
    if settings.get("candidates"):
        dataset = dataset.among(settings["candidates"])
    if settings.get("subset"):
        dataset = dataset.select(subset(settings["subset"]))
    return dataset


def of_whole(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return those settings of a data set that describe all of it, whatever is classified."""
    return {key: settings[key] for key in ("reader", "path", "prompts", *OF_FOLDER) if key in settings}


def reference_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the real images that generated ones are compared with: the same, another split of the same
    layout, or another folder."""
    reference, whole = settings["reference"], of_whole(settings)
    if reference is None:
        return whole
    if settings["reader"] == "folder":
        return {**whole, "reader": "pictures", "path": reference}
    return {**whole, "reader": reference}


def multi_label(settings: Mapping[str, Any]) -> bool:
    """Return whether images have any number of labels, which is known of official sets before they are on disk."""
    if settings["reader"] == "folder":
        return load(of_whole(settings)).multi_label
    return SOURCES[settings["reader"]].own_captions


@cache
def subset(name: str) -> tuple[int, ...]:
    """Return the positions of `first_two_of_each_class` (of ImageNet-1K), or those that a file lists, one per line.

    Raises FileNotFoundError for a missing file and ValueError naming a line that is not a position.
    """
    if name == "first_two_of_each_class":
        return tuple(imagenet.first_two_of_each_class())
    file = located(name)
    if not file.is_file():
        raise FileNotFoundError(
            f"{name} is missing: a subset is first_two_of_each_class, or a file with one position per line"
        )
    with naming(name):
        lines = file.read_text(encoding="utf-8").split()
    invalid = [line for line in lines if not (line.isascii() and line.isdigit() and len(line) < MOST_DIGITS)]
    positions = () if invalid else tuple(map(int, lines))
    if not positions or len(set(positions)) < len(positions):
        raise ValueError(f"{name}: a subset is a list of distinct positions from 0, one per line, not {invalid[:3]}")
    return positions
