"""Images with made-up headers, of other formats and of absurd sizes: decoded, or refused with their file's name."""

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bigain.datasets.base import UnreadableImage
from bigain.datasets.photos import FORMATS, MOST_BYTES, MOST_PIXELS, Store, centre_crop, pixels
from tests.helpers.mutations import MARKS, broken_bytes, cases, refusal
from tests.helpers.official_layouts import photo

pytestmark = MARKS

SIDES = st.sampled_from([0, 1, 2, 16, 255, 9459, 10_000, 65_535, 10**9, (1 << 31) - 1, (1 << 32) - 1]) | st.integers(
    0, 64
)
OTHERS = ["TIFF", "PPM", "ICO", "TGA", "PCX", "SGI", "IM", "DDS", "MSP", "SPIDER", "EPS", "JPEG2000", "WEBP", "PDF"]


def stored(kind, mode="RGB", size=(24, 16)):
    """A picture in some format."""
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


def looked_at(store, content):
    """What opening and cropping such a file says; None if it works."""
    (store.place / "photo.jpg").write_bytes(content)

    def crop():
        for channels in (1, 3):
            assert pixels(centre_crop(store.open("photo.jpg"), 16), channels).shape == (channels, 16, 16)

    return refusal(crop, UnreadableImage)


def png(width, height, depth, colour, interlaced, content):
    """A PNG file whose header may say anything; its checksums are right."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", WHOLE)
@given(data=st.data())
@cases(60)
def test_a_damaged_file_of_every_kind(store, name, data):
    assert looked_at(store, WHOLE[name]) is None
    message = looked_at(store, data.draw(broken_bytes(WHOLE[name])))
    assert message is None or "photo.jpg is damaged" in message


@given(st.tuples(SIDES, SIDES, st.sampled_from([0, 1, 2, 4, 8, 16, 255]), st.integers(0, 7), st.integers(0, 2)))
@cases(100)
def test_a_png_header_that_says_anything(store, header):
    message = looked_at(store, png(*header, bytes(4096)))
    width, height, *_ = header
    absurd = not width * height or width * height > MOST_PIXELS or max(width, height) > 100 * min(width, height)
    assert message is not None if absurd else True
    assert message is None or "photo.jpg is damaged" in message


@given(SIDES, SIDES, st.sampled_from(["bmp", "gif", "jpeg"]))
@cases(100)
def test_sizes_that_are_not_those_of_the_content(store, width, height, name):
    content = bytearray(WHOLE[name])
    if name == "bmp":
        content[18:26] = struct.pack("<II", width, height)
    elif name == "gif":
        content[6:10] = struct.pack("<HH", width & 0xFFFF, height & 0xFFFF)
    else:
        start = content.index(b"\xff\xc0") + 5
        content[start : start + 4] = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
    message = looked_at(store, bytes(content))
    assert message is None or "photo.jpg is damaged" in message


@pytest.mark.parametrize("kind", OTHERS)
def test_formats_that_no_data_set_has_are_not_decoded(store, kind, tmp_path):
    assert kind not in FORMATS
    message = looked_at(store, stored(kind, {"MSP": "1", "SPIDER": "F"}.get(kind, "RGB")))
    assert "cannot identify image file" in message


def test_postscript_is_not_run(store, tmp_path):
    canary = tmp_path / "written"
    program = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n({canary}) (w) file (x) writestring\nshowpage\n"
    assert "photo.jpg is damaged" in looked_at(store, program.encode())
    assert not canary.exists()


def test_a_file_of_absurd_length_is_not_read(store):
    with open(store.place / "long.jpg", "wb") as handle:
        handle.truncate(MOST_BYTES * 100)
    with pytest.raises(UnreadableImage, match=r"long\.jpg is damaged \(\d+ bytes; at most"):
        store.open("long.jpg")
    (store.place / "long.jpg").unlink()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "", "a\0b", "x" * 300, "sub", "..\\x"])
def test_names_outside_of_the_folder_are_missing(store, name):
    (store.place / "sub").mkdir(exist_ok=True)
    (store.place.parent / "x").write_bytes(WHOLE["png"])
    assert not store.has(name)
    with pytest.raises(UnreadableImage, match=r"leaves the folder|is missing"):
        store.open(name)
