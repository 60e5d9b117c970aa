"""Images from anywhere: files, PIL images, arrays and tensors become upright 8-bit grey or RGB, or a readable error.

`decode` is the only place that decodes a file. What an official data set stores is used in its own colours, as the
released code does (`Store`); everything else passes through `open_image`.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from bigain.datasets.base import UnreadableImage

# A path, a PIL image, a numpy array [H, W] or [H, W, C], or a torch tensor [H, W] or [C, H, W].
ImageLike: TypeAlias = str | Path | Image.Image | np.ndarray | Any

# Formats that Pillow may decode: none that it hands to another program, as it does with EPS.
RELEASED_FORMATS = ("JPEG", "PNG", "GIF", "BMP")  # of the official data sets
FORMATS = (*RELEASED_FORMATS, "WEBP", "AVIF", "TIFF", "PPM")
# Endings of files that are meant to be images, whether they can be read or not.
ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".avif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif", ".jp2", ".j2k", ".jxl", ".ico", ".tga", ".psd", ".svg", ".eps"),
    *(".dng", ".cr2", ".nef", ".arw", ".exr", ".hdr"),
)
MOST_BYTES = 1 << 28  # per file; the annotations of COCO 2017 have 20 MB
MOST_PIXELS = 89_478_485  # per image; above, Pillow warns of decompression bombs
MOST_ELONGATED = 100  # ratio of an image's sides

# What Pillow raises, besides its own errors, when the content of a file is broken.
BROKEN_IMAGE = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError),
    *(SyntaxError, TypeError, ValueError, struct.error, zlib.error),
)

ORIENTATION = 0x0112  # EXIF tag
UPRIGHT = {  # by its value, what turns the stored pixels upright; 1 is upright already
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
WITH_ALPHA = ("LA", "PA", "La", "RGBA", "RGBa")
GREY = ("1", "L", "LA", "La")
READ_MODES = (*GREY, *WITH_ALPHA, "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV")
DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N")
BITS_PER_SAMPLE, PHOTOMETRIC, BLACK_IS_ZERO = 258, 262, 1  # TIFF tags, and the usual meaning of grey


def decode(content: bytes, name: Path | str, formats: tuple[str, ...] = RELEASED_FORMATS) -> Image.Image:
    """Return a decoded image, in the colours it is stored in; of several frames the first.

    Raises UnreadableImage with the file's name, the fault and what to do.
    """
    if not content:
        raise UnreadableImage(f"{name} is empty (0 bytes): copy or download it again")
    with naming_faults(name):
        try:
            image = Image.open(io.BytesIO(content), formats=formats)
        except Image.UnidentifiedImageError as error:
            raise UnreadableImage(
                f"{name} is damaged, or not an image in a format that is read ({', '.join(formats)}): convert it to PNG"
            ) from error
        check_size(name, *image.size)
        image.load()
    return image


@contextmanager
def naming_faults(name: Path | str) -> Iterator[None]:
    """Turn what Pillow raises and warns of while it reads an image into UnreadableImage with the image's name."""
    try:
        with warnings.catch_warnings(action="ignore"):  # about odd metadata, and sizes, which we limit ourselves
            yield
    except UnreadableImage:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"{name} is too large to be read ({error}): shrink it") from error
    except BROKEN_IMAGE as error:
        raise UnreadableImage(f"{name} is damaged ({error}): copy or download it again") from error


def check_size(name: Path | str, width: int, height: int) -> None:
    """Raise UnreadableImage for an image without pixels, with absurdly many, or with absurdly different sides."""
    few, many = sorted((width, height))
    if few < 1:
        raise UnreadableImage(f"{name} is damaged ({width} x {height} pixels)")
    if width * height > MOST_PIXELS:
        raise UnreadableImage(f"{name} has {width} x {height} pixels; at most {MOST_PIXELS} are read: shrink it")
    if many > MOST_ELONGATED * few:
        raise UnreadableImage(
            f"{name} has {width} x {height} pixels; no side may be over {MOST_ELONGATED} times the other: crop it"
        )


def open_image(image: ImageLike, name: str = "image") -> Image.Image:
    """Return an image upright, in 8 bits and on white: mode L if it is stored in grey, else RGB.

    `image` is a path, a PIL image, an array [H, W] or [H, W, C], or a tensor [H, W] or [C, H, W]; `name` stands for it
    in messages if it has no file. Alpha is composited on white, 16-bit values are divided by 257, EXIF orientation is
    applied, and embedded colour profiles are not. Raises UnreadableImage with the name, the fault and what to do;
    TypeError if `image` is none of these.
    """
    if isinstance(image, str | Path):
        return standard(decode(_content(Path(image)), image, known_formats()), image)
    if isinstance(image, Image.Image):
        name = str(getattr(image, "filename", "") or name)
        check_size(name, *image.size)
        return standard(image, name)
    if isinstance(image, np.ndarray):
        return from_array(image, name)
    if hasattr(image, "detach") and hasattr(image, "is_floating_point"):  # a tensor, without importing torch
        return from_array(_channels_last(image, name), name)
    raise TypeError(f"{name} is a {type(image).__name__}; allowed are a path, a PIL image, a numpy array or a tensor")


def standard(image: Image.Image, name: Path | str) -> Image.Image:
    """Return a PIL image upright, in 8 bits and on white, as `open_image` does. Raises UnreadableImage."""
    with naming_faults(name):
        _refuse_frames(image, name)
        image.load()  # which turns a TIFF upright
        turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
        flat = _deep_grey(image, name) if image.mode in (*DEEP_GREY, "I") else _eight_bit(image, name)
    return flat if turn is None else flat.transpose(turn)


def from_array(array: np.ndarray, name: str) -> Image.Image:
    """Return an array [H, W] or [H, W, C] as an image: C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA).

    Values are bool, uint8, uint16 or floats from 0 to 1, which are rounded to 8 bits. Raises UnreadableImage.
    """
    shape = list(array.shape)
    if array.ndim == 3 and array.shape[-1] > 4 and array.shape[0] <= 4:
        raise UnreadableImage(
            f"{name} is an array {shape}; channels come last: transpose(1, 2, 0), or [..., None] for a grey batch"
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and not 1 <= array.shape[-1] <= 4):
        raise UnreadableImage(
            f"{name} is an array {shape}; allowed are [H, W] and [H, W, 1 to 4], and [N, H, W, 1 to 4] in a batch"
        )
    check_size(name, array.shape[1], array.shape[0])
    array = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    return _on_white(Image.fromarray(np.ascontiguousarray(_bytes(array, name))))


def image_names(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Split file names into those of images, by their endings, and others; hidden files are neither."""
    visible = [name for name in names if not any(part.startswith(".") for part in Path(name).parts)]
    images = [name for name in visible if Path(name).suffix.lower() in ENDINGS]
    return images, [name for name in visible if Path(name).suffix.lower() not in ENDINGS]


def refuse_large(name: Path | str, size: int) -> None:
    """Raise UnreadableImage for a file of too many bytes."""
    if size > MOST_BYTES:
        raise UnreadableImage(f"{name} has {size} bytes; at most {MOST_BYTES} are read: shrink it")


def _content(path: Path) -> bytes:
    try:
        refuse_large(path, path.stat().st_size)
        return path.read_bytes()
    except FileNotFoundError:
        raise UnreadableImage(f"{path} is missing") from None
    except OSError as error:
        raise UnreadableImage(f"{path} cannot be read ({error.strerror})") from error


@cache
def known_formats() -> tuple[str, ...]:
    """Return the formats that this installation of Pillow decodes; AVIF came with Pillow 11.3."""
    Image.init()
    return tuple(kind for kind in FORMATS if kind in Image.OPEN)


def _refuse_frames(image: Image.Image, name: Path | str) -> None:
    """Raise UnreadableImage for an animation or several pages. Further frames of a camera's MPO are previews."""
    if image.format == "MPO":
        return
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise UnreadableImage(f"{name} has {frames} frames or pages ({image.format}): save the one you mean as a PNG")


def _deep_grey(image: Image.Image, name: Path | str) -> Image.Image:
    """Return 16-bit grey in 8 bits, scaled: Pillow's own conversion clips at 255."""
    tags = getattr(image, "tag_v2", {})
    bits, meaning = tags.get(BITS_PER_SAMPLE, (16,)), tags.get(PHOTOMETRIC, BLACK_IS_ZERO)
    sixteen = image.mode in DEEP_GREY or image.format in ("PNG", "PPM")
    if not sixteen or tuple(bits) != (16,) or meaning != BLACK_IS_ZERO:
        raise UnreadableImage(
            f"{name} holds whole numbers of {bits[0] if sixteen else 32} bits whose white is not known: save it with "
            "8 or 16 bits per channel, black as 0"
        )
    values = np.asarray(image).astype(np.uint16)
    if "transparency" in image.info:
        values = np.where(values == image.info["transparency"], np.uint16(0xFFFF), values)
    return Image.fromarray(_bytes(values, str(name)))


def _eight_bit(image: Image.Image, name: Path | str) -> Image.Image:
    if image.mode not in READ_MODES:
        raise UnreadableImage(
            f"{name} has pixels of mode {image.mode}, whose colours or range are not known: save it in 8-bit RGB or "
            "grey"
        )
    if "transparency" in image.info:
        image = image.convert("LA" if image.mode in GREY else "RGBA")
    elif image.mode == "PA":
        image = image.convert("RGBA")
    return _on_white(image)


def _on_white(image: Image.Image) -> Image.Image:
    """Return an 8-bit image in L or RGB: alpha * colour + (1 - alpha) * white, rounded."""
    mode = "L" if image.mode in GREY else "RGB"
    if image.mode not in WITH_ALPHA:
        return image.convert(mode)
    straight = image.convert("LA" if mode == "L" else "RGBA")
    white = Image.new(mode, image.size, "white")
    white.paste(straight.convert(mode), mask=straight.getchannel("A"))
    return white


def _bytes(array: np.ndarray, name: str) -> np.ndarray:
    """Return values as uint8: bool and floats from 0 to 1 times 255, uint16 divided by 257, rounded."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if not np.issubdtype(array.dtype, np.floating):
        raise UnreadableImage(f"{name} is of {array.dtype}; allowed are uint8, uint16, bool and floats from 0 to 1")
    least, most = float(array.min()), float(array.max())
    if not (least >= 0 and most <= 1):  # also of nan
        raise UnreadableImage(f"{name} has values from {least:g} to {most:g}; floats go from 0 to 1: rescale them")
    return np.rint(array.astype(np.float64) * 255).astype(np.uint8)


def _channels_last(tensor: Any, name: str) -> np.ndarray:
    """Return a torch tensor [H, W] or [C, H, W] as an array [H, W] or [H, W, C], on the CPU."""
    tensor = tensor.detach().cpu()
    array = np.asarray(tensor.float() if tensor.is_floating_point() else tensor)
    shape = list(array.shape)
    if array.ndim == 3 and array.shape[0] > 4 and array.shape[-1] <= 4:
        raise UnreadableImage(f"{name} is a tensor {shape}; channels come first: permute(2, 0, 1)")
    if array.ndim not in (2, 3) or (array.ndim == 3 and not 1 <= array.shape[0] <= 4):
        raise UnreadableImage(
            f"{name} is a tensor {shape}; allowed are [H, W] and [1 to 4, H, W], and [N, 1 to 4, H, W] in a batch"
        )
    return array.transpose(1, 2, 0) if array.ndim == 3 else array
