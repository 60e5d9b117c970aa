"""Oxford-IIIT Pets in its official layout: `images/*.jpg` and `annotations/{list,test,trainval}.txt` (37 breeds).

A line of the lists is a file's name without its ending, the breed from 1, the species (1 cat, 2 dog) and the breed
within the species.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from bigain.core.files import naming
from bigain.datasets.base import Dataset
from bigain.datasets.photos import Store, photo_dataset, repeated
from bigain.datasets.prompts import PromptForm

CLASSES, TEST, TRAINVAL = 37, 3669, 3680
SPECIES = {1: "cat", 2: "dog"}
LISTED = re.compile(r"([^\s/\\\0]+)\s+(\d{1,3})\s+([12])\s+(\d{1,3})\s*", re.ASCII)
WITHOUT_SPECIES = "American Bulldog"  # the only breed whose prompt in the released code names no species


class Line(NamedTuple):
    """A line of a list."""

    name: str
    breed: int
    species: str

    @property
    def class_name(self) -> str:
        """Name of the breed: `american_bulldog_100` shows an American Bulldog."""
        return self.name.rsplit("_", 1)[0].replace("_", " ").title()


def prompt(class_name: str, species: str, form: PromptForm) -> str:
    """Return the prompt of B.2.1, or the released one, which names the species and ends with a period."""
    if form == "paper":
        return f"a photo of a {class_name}, a type of pet"
    named = class_name if class_name == WITHOUT_SPECIES else f"{class_name} {species}"
    return f"a photo of a {named}, a type of pet."


def pets(folder: Path, form: PromptForm) -> Dataset:
    """Return the test split: 3,669 images, in the order of its list."""
    return _split(folder, "pets", "test", form)


def pets_trainval(folder: Path, form: PromptForm) -> Dataset:
    """The training split, interleaved so that every prefix is balanced: what structural methods are calibrated on."""
    return _split(folder, "pets_trainval", "trainval", form, interleaved=True)


def pets_all(folder: Path, form: PromptForm) -> Dataset:
    """Return every .jpg of the folder, listed or not: the real images of the released code's FID."""
    lines = _read_list(folder, "test")
    breeds = {line.class_name: line.breed for line in lines}
    store = Store(folder)
    files = [name for name in store.names() if name.startswith("images/") and name.lower().endswith(".jpg")]
    named = [Line(Path(name).stem, 0, "").class_name for name in files]
    for name, class_name in zip(files, named, strict=True):
        if class_name not in breeds:
            raise ValueError(f"{folder / name} shows no breed that annotations/test.txt lists")
    return _dataset(store, "pets_all", form, lines, files, [(breeds[class_name],) for class_name in named])


def _split(folder: Path, name: str, split: str, form: PromptForm, interleaved: bool = False) -> Dataset:
    lines = _read_list(folder, split)
    if interleaved:
        turn: dict[int, int] = {}
        order = []
        for line in lines:
            order.append(turn.setdefault(line.breed, 0))
            turn[line.breed] += 1
        lines = [line for _, line in sorted(zip(order, lines, strict=True), key=lambda pair: (pair[0], pair[1].breed))]
    files = [f"images/{line.name}.jpg" for line in lines]
    return _dataset(Store(folder), name, form, lines, files, [(line.breed,) for line in lines])


def _dataset(
    store: Store, name: str, form: PromptForm, lines: list[Line], files: list[str], labels: list[tuple[int, ...]]
) -> Dataset:
    classes = {line.breed: line for line in lines}
    named = [classes[breed] for breed in sorted(classes)]
    return photo_dataset(
        store,
        files,
        name=name,
        class_names=[line.class_name for line in named],
        prompts=[prompt(line.class_name, line.species, form) for line in named],
        class_ids=None,
        ids=range(len(files)),
        labels=labels,
    )


def _read_list(folder: Path, split: str) -> list[Line]:
    path = folder / "annotations" / f"{split}.txt"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    with naming(path):
        texts = Store(folder).read(f"annotations/{split}.txt").decode("utf-8").splitlines()
    lines = []
    for number, text in enumerate(texts, start=1):
        if not text.strip() or text.startswith("#"):
            continue
        entry = LISTED.fullmatch(text)
        if entry is None:
            raise ValueError(f"{path}, line {number}: {text!r} is not `name breed species breed-of-species`")
        lines.append(Line(entry[1], int(entry[2]) - 1, SPECIES[int(entry[3])]))
    if twice := repeated(line.name for line in lines):
        raise ValueError(f"{path}: {twice} is listed twice")
    breeds = sorted({line.breed for line in lines})
    if breeds != list(range(CLASSES)):
        raise ValueError(f"{path} lists {len(breeds)} breeds; the official one lists {CLASSES}, from 1 to {CLASSES}")
    if len({(line.breed, line.class_name) for line in lines}) > CLASSES:
        raise ValueError(f"{path} lists images of one name under two breeds, or of two names under one")
    return lines
