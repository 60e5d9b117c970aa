"""ImageNet's validation split in its usual layout, `val/<wnid>/*.JPEG`: all 1,000 classes, or the 100 of ImageNet-100.

Class names are those curated by OpenAI for CLIP (MIT licence), which the released code uses; two pairs of classes
share a name ("missile", "sunglasses"), so their prompts are equal, and so are their errors.
"""

from __future__ import annotations

import csv
import hashlib
from functools import cache
from pathlib import Path

from bigain.datasets.base import Dataset
from bigain.datasets.photos import Store, photo_dataset
from bigain.datasets.prompts import PromptForm, prompt

PER_CLASS = 50
FORMATS = (".jpeg", ".jpg", ".png")
# ImageNet-100 as in "Contrastive Multiview Coding" (Tian et al., 2020), by ImageNet class number.
IMAGENET_100 = (
    *(15, 45, 54, 57, 64, 74, 90, 99, 119, 120, 122, 131, 137, 151, 155, 157, 158, 166, 167, 169, 176, 180, 209, 211),
    *(222, 228, 234, 236, 242, 246, 267, 268, 272, 275, 277, 281, 299, 305, 313, 317, 331, 342, 368, 374, 407, 421),
    *(431, 449, 452, 455, 479, 494, 498, 503, 508, 544, 560, 570, 592, 593, 599, 606, 608, 619, 620, 653, 659, 662),
    *(665, 667, 674, 682, 703, 708, 717, 724, 748, 758, 765, 766, 772, 775, 796, 798, 830, 854, 857, 858, 872, 876),
    *(882, 904, 908, 936, 938, 953, 959, 960, 993, 994),
)
# sha256 of the positions of `first_two_of_each_class` in the sorted validation set, one per line.
SUBSET_SHA256 = "0fbb7f53ec12922fa16dc913e2c4e725860bf0f738af9bd8b260fb99d210a451"


@cache
def classes() -> tuple[tuple[str, str], ...]:
    """Return the (wnid, name) of every class, in the order of their numbers."""
    with open(Path(__file__).with_name("imagenet_classes.csv"), newline="", encoding="utf-8") as handle:
        return tuple((row["wnid"], row["name"]) for row in csv.DictReader(handle))


def imagenet1k(folder: Path, form: PromptForm) -> Dataset:
    """Return all 50,000 validation images, by class number, then by file name."""
    return _validation(folder, "imagenet1k", range(1000), form)


def imagenet100(folder: Path, form: PromptForm) -> Dataset:
    """Return the 5,000 validation images of ImageNet-100, from a folder with these classes or with all of them."""
    return _validation(folder, "imagenet100", IMAGENET_100, form)


def first_two_of_each_class(count: int = 1000) -> list[int]:
    """Return the 2,000 images that ImageNet-1K is classified on: positions 50c and 50c + 1 of the validation set.

    The paper's own list is not released; its printed accuracies are multiples of 0.05%.
    """
    return [PER_CLASS * c + k for c in range(count) for k in (0, 1)]


def list_sha256(positions: list[int]) -> str:
    """Return the sha256 of a list of positions, written one per line."""
    return hashlib.sha256("".join(f"{position}\n" for position in positions).encode()).hexdigest()


def _validation(folder: Path, name: str, numbers: range | tuple[int, ...], form: PromptForm) -> Dataset:
    root = folder / "val" if (folder / "val").is_dir() else folder
    wnids = {classes()[number][0] for number in numbers}
    if not any((root / wnid).is_dir() for wnid in wnids):
        raise FileNotFoundError(f"{folder} holds no val/<wnid>/ folder of {name}, such as val/{min(wnids)}/")
    names = [classes()[number][1] for number in numbers]
    files = [file for number in numbers for file in _class_files(root, classes()[number][0])]
    return photo_dataset(
        Store(root),
        files,
        name=name,
        class_names=names,
        prompts=[prompt(class_name, form) for class_name in names],
        class_ids=list(numbers),
        ids=range(len(files)),
        labels=[(c,) for c in range(len(names)) for _ in range(PER_CLASS)],
    )


def _class_files(root: Path, wnid: str) -> list[str]:
    """Return the 50 files of a class, sorted; if there are fewer, the last entries name what is missing."""
    folder = root / wnid
    files = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in FORMATS) if folder.is_dir() else []
    if len(files) > PER_CLASS:
        raise ValueError(f"{folder} holds {len(files)} images; the validation split has {PER_CLASS} of each class")
    missing = [f"image {number} of {PER_CLASS}" for number in range(len(files) + 1, PER_CLASS + 1)]
    return [f"{wnid}/{file}" for file in (*files, *missing)]
