"""Data sets: ids, labels, prompts and pixels, without torch. One file a data set, one entry here."""

from __future__ import annotations

from pathlib import Path

from bigain.datasets.base import Dataset
from bigain.datasets.fashion_study import fashion, fashion_scenes

READERS = {"fashion": fashion, "fashion_scenes": fashion_scenes}


def load(reader: str, path: Path | str, limit: int | None = None) -> Dataset:
    """The data set, or its first `limit` images.

    Raises FileNotFoundError or ValueError naming the file that is missing or broken, and ValueError if `limit` is more
    than there are.
    """
    dataset = READERS[reader](Path(path))
    return dataset if limit is None else dataset.first(limit)
