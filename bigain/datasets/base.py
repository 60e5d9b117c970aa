"""What a data set is to the rest of the project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from PIL import Image


class UnreadableImage(ValueError):
    """An image that is missing or damaged. The message names its file and what is wrong with it."""


class ImageStore(Protocol):
    """Where images are, by name. `read` and `open` raise UnreadableImage."""

    def has(self, name: str) -> bool:
        """Whether it is there at all."""

    def read(self, name: str) -> bytes:
        """What is stored."""

    def open(self, name: str) -> Image.Image:
        """The decoded image, in the colours it is stored in."""


@dataclass(frozen=True)
class Dataset:
    """Images with ids, label sets and captions, and the candidates a classifier chooses from.

    `prompts[c]` and `class_ids[c]` are candidate c for a text- and for a class-conditioned backbone (`class_ids` is
    None if the classes are not those of a class-conditioned model); `labels[i]` holds the candidates that are right for
    image i (several or none in a multi-label set), `captions[i]` what to generate for it.
    """

    name: str
    class_names: tuple[str, ...]
    prompts: tuple[str, ...]
    class_ids: tuple[int, ...] | None
    ids: Sequence[int]
    labels: Sequence[tuple[int, ...]]
    captions: Sequence[str]
    files: Sequence[str]  # names in the store
    store: ImageStore

    @property
    def multi_label(self) -> bool:
        """Whether some image has more or fewer than one right class."""
        return any(len(labels) != 1 for labels in self.labels)

    def __len__(self) -> int:
        return len(self.ids)

    def open(self, position: int) -> Image.Image:
        """The image at a position. Raises UnreadableImage."""
        return self.store.open(self.files[position])

    def first(self, count: int) -> Dataset:
        """The first `count` images. Raises ValueError if there are fewer."""
        if count > len(self):
            raise ValueError(f"{self.name}: {count} images requested, {len(self)} available")
        return self.select(range(count))

    def select(self, positions: Sequence[int]) -> Dataset:
        """The images at these positions, in this order. Raises ValueError naming a position that does not exist."""
        wrong = [position for position in positions if not 0 <= position < len(self)]
        if wrong:
            raise ValueError(f"{self.name}: there is no image at position {wrong[0]} of {len(self)}")
        parts = {name: [getattr(self, name)[i] for i in positions] for name in ("ids", "labels", "captions", "files")}
        return replace(self, **parts)

    def among(self, candidates: Sequence[int]) -> Dataset:
        """The images of which some class is among the candidates, which are then 0 .. K - 1 in the given order.

        Raises ValueError naming a candidate that does not exist.
        """
        wrong = [c for c in candidates if not 0 <= c < len(self.prompts)]
        if wrong or len(set(candidates)) < len(candidates):
            raise ValueError(f"{self.name}: candidates are distinct classes from 0 to {len(self.prompts) - 1}: {wrong}")
        new = {old: c for c, old in enumerate(candidates)}
        kept = self.select([i for i, labels in enumerate(self.labels) if set(labels) & new.keys()])
        return replace(
            kept,
            class_names=tuple(self.class_names[c] for c in candidates),
            prompts=tuple(self.prompts[c] for c in candidates),
            class_ids=self.class_ids and tuple(self.class_ids[c] for c in candidates),
            labels=[tuple(sorted(new[c] for c in labels if c in new)) for labels in kept.labels],
        )
