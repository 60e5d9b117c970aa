"""Data sets: ids, labels, prompts and pixels, without torch. One file a data set, one entry in `SOURCES`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bigain.core.files import read_json, write_json
from bigain.core.places import located
from bigain.core.validation import naming
from bigain.datasets import coco, imagenet, pets
from bigain.datasets.base import Dataset, UnreadableImage
from bigain.datasets.fashion_study import fashion, fashion_scenes
from bigain.datasets.prompts import PromptForm

SAMPLE = 16  # images whose content belongs to a data set's fingerprint
SUMS = "bigain-checksums.json"  # in a fetched data set's folder: the sha256 of a sample of its images, by reader
MOST_DIGITS = 12  # of a position in a subset
SHOWN = 5  # unreadable images that a message names


@dataclass(frozen=True)
class Source:
    """A reader: how a folder becomes a data set, and what is known of an official set before it is there.

    `images` and `classes` are None where the folder decides. `layout` says what to put where, `of_models` whether the
    classes are those of class-conditioned models, `own_captions` whether images are generated from captions of their
    own instead of their class's prompt, `downloadable` whether its licence lets us download it.
    """

    load: Callable[[Path, PromptForm], Dataset]
    images: int | None = None
    classes: int | None = None
    layout: str = ""
    of_models: bool = False
    forms: tuple[PromptForm, ...] = ("paper", "released")
    own_captions: bool = False
    downloadable: bool = False

    @property
    def official(self) -> bool:
        """Whether this is a published data set, which a machine may have or not."""
        return bool(self.layout)


PETS = "images/*.jpg and annotations/*.txt of Oxford-IIIT Pets; `bigain fetch pets` downloads them (CC BY-SA 4.0)"
IMAGENET = (
    "val/<wnid>/*.JPEG of ILSVRC 2012, 50 images a class. Its terms forbid passing it on: get ILSVRC2012_img_val.tar "
    "and ILSVRC2012_devkit_t12.tar.gz from image-net.org, then `bigain fetch imagenet1k --archives FOLDER` unpacks them"
)
COCO = (
    "val2017.zip (or val2017/) and annotations_trainval2017.zip (or annotations/); `bigain fetch coco2017` downloads "
    "them (annotations CC BY 4.0, images under their Flickr licences)"
)
SOURCES: dict[str, Source] = {
    "fashion": Source(lambda folder, _: fashion(folder), of_models=True, forms=("paper",)),
    "fashion_scenes": Source(
        lambda folder, _: fashion_scenes(folder), of_models=True, forms=("paper",), own_captions=True
    ),
    "pets": Source(pets.pets, pets.TEST, pets.CLASSES, PETS, downloadable=True),
    "pets_trainval": Source(pets.pets_trainval, pets.TRAINVAL, pets.CLASSES, PETS),
    "pets_all": Source(pets.pets_all, None, pets.CLASSES, PETS),
    "imagenet1k": Source(imagenet.imagenet1k, 50_000, 1000, IMAGENET, of_models=True),
    "imagenet100": Source(imagenet.imagenet100, 5000, 100, IMAGENET, of_models=True),
    "coco2017": Source(coco.coco2017, coco.IMAGES, coco.CLASSES, COCO, own_captions=True, downloadable=True),
}


def load(settings: Mapping[str, Any]) -> Dataset:
    """The data set of `reader`, `path` and, where they are given, `prompts`, `candidates` and `subset`.

    Raises FileNotFoundError or ValueError naming the file that is missing or broken and what belongs there, and
    ValueError if candidates or the subset do not fit.
    """
    source, path = SOURCES[settings["reader"]], located(settings["path"])
    try:
        dataset = source.load(path, settings.get("prompts", "paper"))
    except (FileNotFoundError, ValueError) as error:
        if source.official:
            kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
            raise kind(f"{error}. {path} has to hold {source.layout}") from error
        raise
    if settings.get("candidates"):
        dataset = dataset.among(settings["candidates"])
    if settings.get("subset"):
        dataset = dataset.select(subset(settings["subset"]))
    return dataset


@cache
def subset(name: str) -> tuple[int, ...]:
    """The positions of `first_two_of_each_class` (of ImageNet-1K), or of a file with one position a line.

    Raises FileNotFoundError for a missing file and ValueError naming a line that is no position.
    """
    if name == "first_two_of_each_class":
        return tuple(imagenet.first_two_of_each_class())
    file = located(name)
    if not file.is_file():
        raise FileNotFoundError(f"{name} is missing: a subset is first_two_of_each_class or a file, a position a line")
    with naming(name):
        lines = file.read_text(encoding="utf-8").split()
    wrong = [line for line in lines if not (line.isascii() and line.isdigit() and len(line) < MOST_DIGITS)]
    positions = () if wrong else tuple(map(int, lines))
    if not positions or len(set(positions)) < len(positions):
        raise ValueError(f"{name}: a subset is a list of distinct positions from 0, a line each; found {wrong[:3]}")
    return positions


@cache
def fingerprint(reader: str, path: str) -> str:
    """What a data set is: its files' names, ids, labels and captions, and the content of a sample of its images.

    Errors are those of `load`.
    """
    dataset = load({"reader": reader, "path": path})
    described = repr([list(part) for part in (dataset.files, dataset.ids, dataset.labels, dataset.captions)])
    digest = hashlib.sha256(described.encode())
    for i in _spread(len(dataset)):
        try:
            digest.update(dataset.store.read(dataset.files[i]))
        except UnreadableImage:  # counted and named by `problems`
            digest.update(b"unreadable")
    return digest.hexdigest()


def problems(settings: Mapping[str, Any]) -> list[str]:
    """What is wrong with a data set, a line each: missing files, wrong counts, damage in a sample of its images.

    Missing files are those that its lists name. Up to `allow_missing` unreadable images are no problem. A sample of the
    images is compared with the checksums of when it was fetched, if it was.
    """
    try:
        dataset = load({key: settings[key] for key in ("reader", "path", "prompts") if key in settings})
    except (OSError, ValueError) as error:
        return [str(error)]
    official, found = SOURCES[settings["reader"]].images, []
    if official not in (None, len(dataset)):
        found.append(f"{settings['path']}: its lists name {len(dataset)} images; the official ones {official}")
    unreadable = [f"{file} is missing" for file in dataset.files if not dataset.store.has(file)]
    for i in _spread(len(dataset)):
        if dataset.store.has(dataset.files[i]):
            try:
                dataset.open(i)
            except UnreadableImage as error:
                unreadable.append(str(error))
    if len(unreadable) > settings.get("allow_missing", 0):
        message = unreadable_message(unreadable, settings.get("allow_missing", 0))
        found.append(f"{settings['path']}: {message}")
    try:
        found.extend(_changed(settings, dataset))
    except ValueError as error:
        found.append(str(error))
    return found


def record_sums(reader: str, path: str) -> None:
    """Write the checksums of a sample of the images beside them, after a fetch; `problems` compares with them.

    Errors are those of `load`, and UnreadableImage.
    """
    dataset, file = load({"reader": reader, "path": path}), Path(path) / SUMS
    sums = {dataset.files[i]: _sha256(dataset, i) for i in _spread(len(dataset))}
    write_json(file, _read_sums(file) | {reader: sums})


def _read_sums(file: Path) -> dict[str, dict[str, str]]:
    """Checksums by reader and file. Raises ValueError naming the file if it is something else."""
    sums = read_json(file) if file.is_file() else {}
    known = list(sums.values()) if isinstance(sums, dict) else [None]
    texts = [text for one in known for pair in (one.items() if isinstance(one, dict) else [(None,)]) for text in pair]
    if not all(isinstance(text, str) and text.isprintable() for text in texts):
        raise ValueError(f"{file} has to hold a sha256 for each file of each reader: remove it, or fetch again")
    return sums


def _changed(settings: Mapping[str, Any], dataset: Dataset) -> Iterator[str]:
    """Images that are other than they were when they were fetched. Raises ValueError naming a file that cannot say."""
    file = located(settings["path"]) / SUMS
    sums = _read_sums(file).get(settings["reader"], {})
    place = {name: i for i, name in enumerate(dataset.files)}
    for name, known in sums.items():
        if name not in place:
            yield f"{settings['path']}: {name} was fetched, and is not listed any more"
        elif dataset.store.has(name) and (found := _sha256(dataset, place[name])) != known:
            yield f"{settings['path']}: {name}: sha256 is {found}, and was {known} when it was fetched"


def _sha256(dataset: Dataset, position: int) -> str:
    return hashlib.sha256(dataset.store.read(dataset.files[position])).hexdigest()


def unreadable_message(errors: list[str], allowed: int) -> str:
    """The message for images that could not be read, of which `allowed` may be left out."""
    named = "; ".join(errors[:SHOWN]) + (f"; and {len(errors) - SHOWN} more" if len(errors) > SHOWN else "")
    return f"{len(errors)} images cannot be read, and allow_missing is {allowed}: {named}"


def _spread(count: int) -> list[int]:
    """Up to SAMPLE positions, evenly spread."""
    return sorted({count * k // SAMPLE for k in range(SAMPLE)}) if count else []
