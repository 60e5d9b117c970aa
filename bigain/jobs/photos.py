"""Real images for the jobs that read them: several at once, and what is to be done about those that cannot be read."""

from __future__ import annotations

from typing import Any

from PIL import Image

from bigain.datasets import unreadable_message
from bigain.datasets.base import Dataset, UnreadableImage

PIXELS_TOGETHER = 64 * 32 * 32  # of a batch of images: 64 of the embedded study's, one photo of 512 x 512


def together(size: int) -> int:
    """How many images of size x size are encoded together."""
    return max(1, PIXELS_TOGETHER // size**2)


def readable(dataset: Dataset, positions: range, errors: dict[int, str]) -> dict[int, Image.Image]:
    """The images that can be read, by position; what is wrong with the others goes to `errors`."""
    readable = {}
    for i in positions:
        try:
            readable[i] = dataset.open(i)
        except UnreadableImage as error:
            errors[i] = str(error)
    return readable


def refuse_unreadable(spec: dict[str, Any], errors: dict[int, str]) -> None:
    allowed = spec["dataset"]["allow_missing"]
    if len(errors) > allowed:
        raise ValueError(f"{spec['dataset']['id']}: {unreadable_message(list(errors.values()), allowed)}")
    for error in errors.values():
        print(f"left out: {error}")
