"""What a data set is to the rest of the project."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Dataset:
    """Images with ids, label sets and captions, and the candidates a classifier chooses from.

    `prompts[c]` and `class_ids[c]` are candidate c for a text- and for a class-conditioned backbone; `labels[i]` holds
    the candidates that are right for image i (several in a multi-label set), `captions[i]` what to generate for it.
    """

    name: str
    class_names: tuple[str, ...]
    prompts: tuple[str, ...]
    class_ids: tuple[int, ...]
    ids: Sequence[int]
    labels: Sequence[tuple[int, ...]]
    captions: Sequence[str]
    read: Callable[[Sequence[int]], np.ndarray]  # positions -> uint8 [n, H, W] or [n, H, W, 3]

    @property
    def multi_label(self) -> bool:
        """Whether some image has more than one right class."""
        return any(len(labels) != 1 for labels in self.labels)

    def __len__(self) -> int:
        return len(self.ids)

    def first(self, count: int) -> Dataset:
        """The first `count` images. Raises ValueError if there are fewer."""
        if count > len(self):
            raise ValueError(f"{self.name}: {count} images asked for, {len(self)} there")
        cut = {"ids": self.ids[:count], "labels": self.labels[:count], "captions": self.captions[:count]}
        return replace(self, **cut)
