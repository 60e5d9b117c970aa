"""Images with made-up headers, in other formats or of absurd sizes: decoded, or refused with the name of the file."""

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bigain.datasets.base import UnreadableImage
from bigain.datasets.images import MOST_BYTES, MOST_PIXELS, RELEASED_FORMATS
from bigain.datasets.photos import Pictures, Store, centre_crop, pixels
from tests.helpers.mutations import MARKS, broken_bytes, cases, refusal
from tests.helpers.official_layouts import photo

pytestmark = MARKS

SIDES = st.sampled_from([0, 1, 2, 16, 255, 9459, 10_000, 65_535, 10**9, (1 << 31) - 1, (1 << 32) - 1]) | st.integers(
    0, 64
)
OTHERS = ["TIFF", "PPM", "ICO", "TGA", "PCX", "SGI", "IM", "DDS", "MSP", "SPIDER", "EPS", "JPEG2000", "WEBP", "PDF"]


def stored(kind, mode="RGB", size=(24, 16)):
    """Return an image of noise in a file format."""
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(buffer, kind)
    return buffer.getvalue()


WHOLE = {
    "jpeg": photo(0),
    "grey": photo(1, mode="L"),
    "cmyk": photo(2, mode="CMYK"),
    "png": stored("PNG"),
    "palette": stored("PNG", "P"),
    "deep": stored("PNG", "I;16"),
    "bits": stored("BMP", "1"),
    "bmp": stored("BMP"),
    "gif": stored("GIF", "P"),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("images"))


def refusal_of(store, content):
    """Open and crop an image with this content; return the message of a refusal."""
    (store.place / "photo.jpg").write_bytes(content)

    def crop():
        for channels in (1, 3):
            assert pixels(centre_crop(store.open("photo.jpg"), 16), channels).shape == (channels, 16, 16)

    return refusal(crop, UnreadableImage)


def png(width, height, depth, colour, interlaced, content):
    """Return a PNG file with an arbitrary header and correct checksums."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", WHOLE)
@given(data=st.data())
@cases(60)
def test_a_damaged_image_is_decoded_or_named(store, name, data):
    assert refusal_of(store, WHOLE[name]) is None
    message = refusal_of(store, data.draw(broken_bytes(WHOLE[name])))
    assert message is None or "photo.jpg " in message


MORE = WHOLE | {
    "tiff": stored("TIFF"),
    "deep tiff": stored("TIFF", "I;16"),
    "webp": stored("WEBP", "RGBA"),
    "avif": stored("AVIF"),
    "ppm": stored("PPM"),
}


@pytest.mark.parametrize("name", MORE)
@given(data=st.data())
@cases(60)
def test_anybody_s_damaged_image_is_decoded_or_named(store, name, data):
    pictures = Pictures(store.place)
    assert refusal_of(pictures, MORE[name]) is None
    message = refusal_of(pictures, data.draw(broken_bytes(MORE[name])))
    assert message is None or "photo.jpg " in message


@given(st.tuples(SIDES, SIDES, st.sampled_from([0, 1, 2, 4, 8, 16, 255]), st.integers(0, 7), st.integers(0, 2)))
@cases(100)
def test_an_arbitrary_png_header_is_decoded_or_named(store, header):
    message = refusal_of(store, png(*header, bytes(4096)))
    width, height, *_ = header
    absurd = not width * height or width * height > MOST_PIXELS or max(width, height) > 100 * min(width, height)
    assert message is not None or not absurd
    assert message is None or "photo.jpg " in message


@given(SIDES, SIDES, st.sampled_from(["bmp", "gif", "jpeg"]))
@cases(100)
def test_a_header_with_another_size_is_decoded_or_named(store, width, height, name):
    content = bytearray(WHOLE[name])
    if name == "bmp":
        content[18:26] = struct.pack("<II", width, height)
    elif name == "gif":
        content[6:10] = struct.pack("<HH", width & 0xFFFF, height & 0xFFFF)
    else:
        start = content.index(b"\xff\xc0") + 5
        content[start : start + 4] = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
    message = refusal_of(store, bytes(content))
    assert message is None or "photo.jpg " in message


@pytest.mark.parametrize("kind", OTHERS)
def test_formats_that_no_data_set_uses_are_not_decoded(store, kind, tmp_path):
    assert kind not in RELEASED_FORMATS
    message = refusal_of(store, stored(kind, {"MSP": "1", "SPIDER": "F"}.get(kind, "RGB")))
    assert "photo.jpg is damaged, or not an image in a format that is read" in message


def test_postscript_is_not_run(store, tmp_path):
    canary = tmp_path / "written"
    program = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n({canary}) (w) file (x) writestring\nshowpage\n"
    assert "photo.jpg is damaged" in refusal_of(store, program.encode())
    assert not canary.exists()


def test_a_file_of_absurd_length_is_not_read(store):
    with open(store.place / "long.jpg", "wb") as handle:
        handle.truncate(MOST_BYTES * 100)
    with pytest.raises(UnreadableImage, match=r"long\.jpg has \d+ bytes; at most"):
        store.open("long.jpg")
    (store.place / "long.jpg").unlink()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "", "a\0b", "x" * 300, "sub", "..\\x"])
def test_names_outside_the_folder_are_refused(store, name):
    (store.place / "sub").mkdir(exist_ok=True)
    (store.place.parent / "x").write_bytes(WHOLE["png"])
    assert not store.has(name)
    with pytest.raises(UnreadableImage, match=r"leaves the folder|is missing"):
        store.open(name)
