"""Photos: where their files are (a folder, or a zip file left as it came), and how they become a model's input."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bigain.datasets.base import Dataset, UnreadableImage

FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}


class Store:
    """Files by name below a folder, or inside a zip file (whose own checksums are verified on every read)."""

    def __init__(self, place: Path) -> None:
        self.place = place
        try:
            self._archive = zipfile.ZipFile(place) if place.is_file() else None
        except zipfile.BadZipFile as error:
            raise ValueError(f"{place} is no whole zip file: {error}") from error

    def names(self) -> list[str]:
        """Every file, sorted."""
        if self._archive is not None:
            return sorted(name for name in self._archive.namelist() if not name.endswith("/"))
        return sorted(str(path.relative_to(self.place)) for path in self.place.rglob("*") if path.is_file())

    def has(self, name: str) -> bool:
        """Whether the file is there."""
        return (self.place / name).is_file() if self._archive is None else name in self._archive.NameToInfo

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises UnreadableImage naming it if it is missing or its checksum is wrong."""
        try:
            return (self.place / name).read_bytes() if self._archive is None else self._archive.read(name)
        except (OSError, KeyError) as error:
            raise UnreadableImage(f"{self.place / name} is missing") from error
        except (zipfile.BadZipFile, ValueError) as error:
            raise UnreadableImage(f"{self.place / name} is damaged ({error})") from error

    def open(self, name: str) -> Image.Image:
        """A decoded image, in the colours it is stored in. Raises UnreadableImage naming a missing or damaged file."""
        content = self.read(name)
        try:
            image = Image.open(io.BytesIO(content))
            image.load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UnreadableImage(f"{self.place / name} is damaged ({error})") from error
        return image


def centre_crop(image: Image.Image, size: int, resampling: str = "bicubic") -> Image.Image:
    """The short side resized to `size`, then the middle size x size: in the image's own colours, as released."""
    width, height = image.size
    if (scaled := _short_side(width, height, size)) != image.size:
        image = image.resize(scaled, FILTERS[resampling])
    left, top = (round((side - size) / 2) for side in image.size)
    return image.crop((left, top, left + size, top + size))


def _short_side(width: int, height: int, size: int) -> tuple[int, int]:
    if width <= height:
        return size, int(size * height / width)
    return int(size * width / height), size


def pixels(image: Image.Image, channels: int) -> np.ndarray:
    """uint8 [C, H, W], grey (1) or RGB (3), whatever the image is stored as."""
    array = np.array(image.convert("L" if channels == 1 else "RGB"))
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def crops(dataset: Dataset, positions: Sequence[int], size: int, channels: int) -> np.ndarray:
    """Images as a backbone of that size sees them: uint8 [n, C, size, size]. Raises UnreadableImage."""
    return np.stack([pixels(centre_crop(dataset.open(i), size), channels) for i in positions])


def as_jpeg(image: Image.Image) -> Image.Image:
    """What is left of an image stored as JPEG of quality 100 (4:2:0, as the released code stores it)."""
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=100)
    return Image.open(io.BytesIO(buffer.getvalue()))


def photo_dataset(
    store: Store,
    files: Sequence[str],
    *,
    name: str,
    class_names: Sequence[str],
    prompts: Sequence[str],
    class_ids: Sequence[int] | None,
    ids: Sequence[int],
    labels: Sequence[tuple[int, ...]],
    captions: Sequence[str] | None = None,
) -> Dataset:
    """A data set of photos in a store; without captions, an image's is the prompt of its one class."""
    return Dataset(
        name=name,
        class_names=tuple(class_names),
        prompts=tuple(prompts),
        class_ids=None if class_ids is None else tuple(class_ids),
        ids=ids,
        labels=labels,
        captions=[prompts[label] for (label,) in labels] if captions is None else captions,
        files=files,
        store=store,
    )
