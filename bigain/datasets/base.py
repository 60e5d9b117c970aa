"""The data set as the rest of the project sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from PIL import Image

SHOWN = 5  # unreadable images that a message names


class UnreadableImage(ValueError):
    """An image that is missing or damaged. The message names its file and the fault."""


def unreadable_message(errors: list[str], allowed: int) -> str:
    """Return the message for images that cannot be read, of which `allowed` may be left out."""
    named = "; ".join(errors[:SHOWN]) + (f"; and {len(errors) - SHOWN} more" if len(errors) > SHOWN else "")
    return f"{len(errors)} images cannot be read, and allow_missing is {allowed}: {named}"


class ImageStore(Protocol):
    """Images by name. `read` and `open` raise UnreadableImage."""

    def has(self, name: str) -> bool:
        """Return whether the image exists."""

    def read(self, name: str) -> bytes:
        """Return the bytes stored."""

    def open(self, name: str) -> Image.Image:
        """Return the decoded image, in the colours it is stored in."""


@dataclass(frozen=True)
class Dataset:
    """Images with ids, label sets and captions, and the candidates a classifier chooses from.

    `prompts[c]` and `class_ids[c]` are candidate c for a text- and for a class-conditioned backbone (`class_ids` is
    None if the classes are not those of a class-conditioned model); `labels[i]` holds the true candidates of image i
    (several or none in a multi-label set), `captions[i]` what to generate for it.
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
        """Return whether some image has more or fewer than one label."""
        return any(len(labels) != 1 for labels in self.labels)

    def __len__(self) -> int:
        return len(self.ids)

    def open(self, position: int) -> Image.Image:
        """Open the image at a position. Raises UnreadableImage."""
        return self.store.open(self.files[position])

    def first(self, count: int) -> Dataset:
        """Return the first `count` images. Raises ValueError if there are fewer."""
        if count > len(self):
            raise ValueError(f"{self.name}: {count} images requested, {len(self)} available")
        return self.select(range(count))

    def cycled(self, count: int) -> Dataset:
        """Return `count` images, beginning anew after the last."""
        return self.select([i % len(self) for i in range(count)])

    def select(self, positions: Sequence[int]) -> Dataset:
        """Return the images at these positions, in this order. Raises ValueError naming one that does not exist."""
        invalid = [position for position in positions if not 0 <= position < len(self)]
        if invalid:
            raise ValueError(f"{self.name}: there is no image at position {invalid[0]} of {len(self)}")
        return replace(
            self,
            ids=[self.ids[i] for i in positions],
            labels=[self.labels[i] for i in positions],
            captions=[self.captions[i] for i in positions],
            files=[self.files[i] for i in positions],
        )

    def among(self, candidates: Sequence[int]) -> Dataset:
        """Return the images with a label among the candidates, which become classes 0 .. K - 1 in their order.

        Raises ValueError naming a candidate that does not exist.
        """
        invalid = [c for c in candidates if not 0 <= c < len(self.prompts)]
        if invalid or len(set(candidates)) < len(candidates):
            classes = f"distinct classes from 0 to {len(self.prompts) - 1}"
            raise ValueError(f"{self.name}: candidates are {classes}, not {invalid or list(candidates)}")
        new = {old: c for c, old in enumerate(candidates)}
        kept = self.select([i for i, labels in enumerate(self.labels) if set(labels) & new.keys()])
        return replace(
            kept,
            class_names=tuple(self.class_names[c] for c in candidates),
            prompts=tuple(self.prompts[c] for c in candidates),
            class_ids=self.class_ids and tuple(self.class_ids[c] for c in candidates),
            labels=[tuple(sorted(new[c] for c in labels if c in new)) for labels in kept.labels],
        )
