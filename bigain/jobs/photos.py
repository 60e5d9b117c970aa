"""Real images for the jobs that read them: what happens to unreadable ones."""

from __future__ import annotations

from collections.abc import Iterable

from PIL import Image

from bigain.core.specs import DatasetSpec
from bigain.datasets.base import Dataset, UnreadableImage, unreadable_message


def read_images(dataset: Dataset, positions: Iterable[int], errors: dict[int, str]) -> dict[int, Image.Image]:
    """Read images by position; for those that cannot be read, add a message to `errors`."""
    images = {}
    for position in positions:
        try:
            images[position] = dataset.open(position)
        except UnreadableImage as error:
            errors[position] = str(error)
    return images


def check_unreadable(dataset: DatasetSpec, errors: dict[int, str]) -> None:
    """Raise ValueError if more images are unreadable than the data set allows; else print which are left out."""
    allowed = dataset["allow_missing"]
    if len(errors) > allowed:
        raise ValueError(f"{dataset['id']}: {unreadable_message(list(errors.values()), allowed)}")
    for error in errors.values():
        print(f"left out: {error}")
