"""Photos: stores of their files (a folder, or a zip file as downloaded), and how they become a model's input."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from bigain.datasets.base import Dataset, UnreadableImage
from bigain.datasets.images import decode, known_formats, refuse_large, standard

Value = TypeVar("Value", str, int)

FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile unpacks others without a bound on their length
LONGEST_NAME = 255  # bytes

# What zipfile raises, besides its own errors, when the content of an archive is broken.
BROKEN_ARCHIVE = (OSError, zipfile.BadZipFile, EOFError, RuntimeError, ValueError, struct.error, zlib.error)


class Store:
    """Files by name below a folder, or inside a zip file (whose own checksums are verified on every read)."""

    def __init__(self, place: Path) -> None:
        self.place = place
        try:
            self._archive = zipfile.ZipFile(place) if place.is_file() else None
        except BROKEN_ARCHIVE as error:
            raise ValueError(f"{place} is not a complete zip file: {error}") from error
        if self._archive is not None and (twice := repeated(self._archive.namelist())):
            raise ValueError(f"{place} holds {twice!r} twice")

    def names(self) -> list[str]:
        """Return the names of all files, sorted."""
        if self._archive is not None:
            return sorted(name for name in self._archive.namelist() if not name.endswith("/"))
        return sorted(str(path.relative_to(self.place)) for path in self.place.rglob("*") if path.is_file())

    def has(self, name: str) -> bool:
        """Return whether the file exists and lies inside the store."""
        if leaves(name):
            return False
        if self._archive is not None:
            return name in self._archive.NameToInfo
        try:
            return (self.place / name).is_file()
        except OSError:  # a name that is too long for the file system
            return False

    def read(self, name: str) -> bytes:
        """Return the bytes of a file.

        Raises UnreadableImage naming it if it is missing, absurdly large or outside of the store, or if its checksum is
        wrong.
        """
        if not self.has(name):
            raise UnreadableImage(f"{self.place}/{name} " + ("leaves the folder" if leaves(name) else "is missing"))
        try:
            if self._archive is None:
                refuse_large(self.place / name, (self.place / name).stat().st_size)
                return (self.place / name).read_bytes()
            entry = self._archive.getinfo(name)
            refuse_large(self.place / name, entry.file_size)
            if entry.compress_type not in COMPRESSIONS:
                raise ValueError("compressed as no data set is")
            return self._archive.read(name)
        except UnreadableImage:
            raise
        except BROKEN_ARCHIVE as error:
            raise UnreadableImage(f"{self.place / name} is damaged ({error})") from error

    def open(self, name: str) -> Image.Image:
        """Return a decoded image, in the colours it is stored in. Raises UnreadableImage naming its file."""
        return decode(self.read(name), self.place / name)


class Pictures(Store):
    """A store of anybody's images: in any format that is read, opened upright, in 8-bit grey or RGB, on white."""

    def open(self, name: str) -> Image.Image:
        """Return an image as `open_image` does. Raises UnreadableImage naming its file."""
        return standard(decode(self.read(name), self.place / name, known_formats()), self.place / name)


def leaves(name: str) -> bool:
    """Return whether a name in a list or an archive points outside of its folder, or cannot be a file's."""
    parts = name.replace("\\", "/").split("/")
    too_long = max(map(len, (part.encode(errors="surrogatepass") for part in parts))) > LONGEST_NAME
    return not name or "\0" in name or ".." in parts or not parts[0] or too_long


def repeated(values: Iterable[Value]) -> Value | None:
    """Return the first value that occurs more than once."""
    return next((value for value, count in Counter(values).items() if count > 1), None)


def centre_crop(image: Image.Image, size: int, resampling: str = "bicubic") -> Image.Image:
    """Resize the short side to `size` and crop the middle size x size, in the image's own colours, as released."""
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
    """Return an image as uint8 [C, H, W], in grey (C = 1, luma 0.299 R + 0.587 G + 0.114 B) or RGB (C = 3).

    Raises ValueError for other channels.
    """
    if channels not in (1, 3):
        raise ValueError(f"the model's images have {channels} channels; images are read in grey (1) or RGB (3)")
    array = np.array(image.convert("L" if channels == 1 else "RGB"))
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def crops(dataset: Dataset, positions: Sequence[int], size: int, channels: int) -> np.ndarray:
    """Return images as a backbone of that size sees them: uint8 [n, C, size, size]. Raises UnreadableImage."""
    return np.stack([pixels(centre_crop(dataset.open(i), size), channels) for i in positions])


def as_jpeg(image: Image.Image) -> Image.Image:
    """Return an image after JPEG compression of quality 100 (4:2:0, as the released code stores it)."""
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
    """Return a data set of photos in a store. Without `captions`, an image's caption is the prompt of its one class.

    Raises ValueError naming an image that is listed twice, or outside of the store.
    """
    for file in files:
        if leaves(file):
            raise ValueError(f"{store.place}: {file!r} is listed, but leaves the folder")
    for twice in (repeated(files), repeated(ids)):
        if twice is not None:
            raise ValueError(f"{store.place}: image {twice!r} is listed twice")
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
