"""Images from anywhere: closed-form pixels of every kind of file, and the message of every kind of fault."""

import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
import torch
from PIL import Image

from bigain.datasets import images
from bigain.datasets.base import UnreadableImage
from bigain.datasets.images import UPRIGHT, image_names, open_image
from bigain.datasets.photos import Pictures, Store, centre_crop, pixels

RAMP = np.array([[0, 100, 200], [250, 50, 150]], dtype=np.uint8)  # 2 x 3: no turn of it equals another


def save(path, image, **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **options)
    return path


def opened(source):
    """Return the pixels of an image as they are read: [H, W] of grey, [H, W, 3] of colours."""
    image = open_image(source)
    assert image.mode in ("L", "RGB")
    return np.asarray(image)


def seen(source, channels):
    """Return an image as a model of 32 x 32 pixels sees it."""
    return pixels(centre_crop(open_image(source), 32), channels)


def fault(source, name="image"):
    with pytest.raises(UnreadableImage) as caught:
        open_image(source, name)
    return str(caught.value)


# -- files


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "pgm", "webp", "gif"])
def test_lossless_formats_give_the_stored_grey_values(tmp_path, ending):
    options = {"lossless": True} if ending == "webp" else {}
    read = opened(save(tmp_path / f"x.{ending}", RAMP, **options))
    assert np.array_equal(read if read.ndim == 2 else read[..., 0], RAMP)


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, ending):
    deep = np.array([[0, 256, 257, 32896, 65279, 65535]], dtype=np.uint16)
    image = Image.fromarray(deep)
    path = save(tmp_path / f"x.{ending}", image)
    assert opened(path).tolist() == [[0, 1, 1, 128, 254, 255]]
    assert opened(deep).tolist() == opened(path).tolist() == opened(Image.open(path)).tolist()


def test_sixteen_bit_colours_keep_their_high_byte(tmp_path):
    """As Pillow reads them: a PNG of 16-bit RGB, written by hand because Pillow cannot."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + struct.pack(">6H", 0x1234, 0x8000, 0xFFFF, 0, 0x00FF, 0x0100)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    (tmp_path / "x.png").write_bytes(content)
    assert opened(tmp_path / "x.png").tolist() == [[[0x12, 0x80, 0xFF], [0, 0, 1]]]


def test_one_bit_is_black_and_white(tmp_path):
    bits = np.array([[True, False], [False, True]])
    for source in (bits, save(tmp_path / "x.png", bits), save(tmp_path / "x.tif", bits)):
        assert opened(source).tolist() == [[255, 0], [0, 255]]


def test_palettes_give_their_colours(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([1, 0])
    assert opened(save(tmp_path / "x.png", image)).tolist() == [[[40, 50, 60], [10, 20, 30]]]
    assert opened(save(tmp_path / "clear.png", image, transparency=0)).tolist() == [[[40, 50, 60], [255, 255, 255]]]


@pytest.mark.parametrize("alpha", [0, 1, 64, 128, 254, 255])
def test_alpha_is_composited_on_white(tmp_path, alpha):
    colour = np.array([[[0, 100, 255, alpha]]], dtype=np.uint8)
    expected = [round(value * alpha / 255 + 255 - alpha) for value in (0, 100, 255)]
    for source in (colour, save(tmp_path / "x.png", colour), Image.fromarray(colour)):
        assert opened(source).tolist() == [[expected]]
    assert opened(np.array([[[100, alpha]]], dtype=np.uint8)).tolist() == [[expected[1]]]


@pytest.mark.parametrize("deep", [False, True])
def test_a_transparent_grey_value_becomes_white(tmp_path, deep):
    values = RAMP.astype(np.uint16) * 257 if deep else RAMP
    path = save(tmp_path / "x.png", values, transparency=int(values[0, 1]))
    assert opened(path).tolist() == [[0, 255, 200], [250, 50, 150]]


def test_cmyk_becomes_rgb(tmp_path):
    """(255 - C)(255 - K) / 255, for pure inks."""
    inks = Image.new("CMYK", (4, 1))
    inks.putdata([(255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255)])
    expected = [[[0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0]]]
    assert opened(save(tmp_path / "x.tif", inks)).tolist() == expected
    large = inks.resize((64, 16), Image.Resampling.NEAREST)
    jpeg = opened(save(tmp_path / "x.jpg", large, quality=100))
    assert np.abs(jpeg[8, 8::16].astype(int) - expected[0]).max() <= 3


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
def test_exif_orientation_turns_the_image_upright(tmp_path, value, ending):
    """Stored so that the turn of this value gives the ramp back."""
    inverse = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}.get(value, UPRIGHT.get(value))
    upright = Image.fromarray(np.kron(RAMP, np.ones((16, 16), np.uint8)))
    stored = upright if inverse is None else upright.transpose(inverse)
    exif = Image.Exif()
    exif[images.ORIENTATION] = value
    path = save(tmp_path / f"x.{ending}", stored, exif=exif)
    for source in (path, Image.open(io.BytesIO(path.read_bytes()))):
        read = opened(source)
        assert read.shape == (32, 48)
        assert np.abs(read.astype(int) - np.asarray(upright)).max() <= (3 if ending == "jpg" else 0)


def test_official_data_sets_are_used_as_stored(tmp_path):
    """The released code applies no orientation; a folder of one's own images does."""
    exif = Image.Exif()
    exif[images.ORIENTATION] = 6
    save(tmp_path / "x.png", RAMP, exif=exif)
    assert np.array_equal(np.asarray(Store(tmp_path).open("x.png")), RAMP)
    assert np.array_equal(np.asarray(Pictures(tmp_path).open("x.png")), np.rot90(RAMP, -1))


def test_an_upright_rgb_photo_is_the_same_in_both(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (70, 50, 3), dtype=np.uint8)
    save(tmp_path / "x.jpg", noise)
    for channels in (1, 3):
        official = pixels(centre_crop(Store(tmp_path).open("x.jpg"), 32), channels)
        assert np.array_equal(seen(tmp_path / "x.jpg", channels), official)


def test_a_camera_s_previews_are_not_frames(tmp_path):
    photo = Image.new("RGB", (32, 16), (200, 100, 50))
    preview = Image.new("RGB", (16, 8))
    photo.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[preview])
    read = opened(tmp_path / "x.jpg")
    assert read.shape == (16, 32, 3)
    assert np.abs(read.astype(int) - [200, 100, 50]).max() <= 3


# -- what is passed in memory


def test_floats_from_0_to_1_are_rounded_to_8_bits():
    values = np.array([[0.0, 0.5 / 255 - 1e-6, 0.5 / 255 + 1e-6, 1.0]])
    for kind in (np.float16, np.float32, np.float64):
        assert opened(values.astype(kind))[0, [0, 3]].tolist() == [0, 255]
    assert opened(values).tolist() == [[0, 0, 1, 255]]


def test_tensors_have_their_channels_first():
    colours = torch.tensor(np.random.default_rng(0).integers(0, 255, (3, 5, 6), dtype=np.uint8))
    expected = colours.permute(1, 2, 0).tolist()
    assert opened(colours).tolist() == opened((colours / 255).requires_grad_()).tolist() == expected
    assert opened(torch.ones(4, 5, dtype=torch.bfloat16)).tolist() == np.full((4, 5), 255).tolist()
    assert opened(colours[:1]).tolist() == colours[0].tolist()


def test_a_pil_image_is_not_changed():
    image = Image.new("RGBA", (3, 2), (255, 0, 0, 0))
    assert opened(image).tolist() == np.full((2, 3, 3), 255).tolist()
    assert image.mode == "RGBA"
    assert image.getpixel((0, 0)) == (255, 0, 0, 0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 90), (7, 500), (32, 32), (333, 222)])
def test_any_size_in_grey_or_colour_becomes_the_model_s(channels, size):
    grey = Image.new("L", size, 120)
    for image in (grey, grey.convert("RGB")):
        assert np.array_equal(seen(image, channels), np.full((channels, 32, 32), 120))


def test_other_channels_than_grey_and_rgb_are_refused():
    with pytest.raises(ValueError, match=r"the model's images have 4 channels; images are read in grey \(1\) or RGB"):
        seen(np.zeros((8, 8)), 4)


# -- faults


def test_animations_and_pages_are_named_with_their_number(tmp_path):
    frames = [Image.new("RGB", (8, 8), (k, 0, 0)) for k in (0, 90, 180)]
    for ending, kind in (("gif", "GIF"), ("png", "PNG"), ("webp", "WEBP"), ("tif", "TIFF")):
        path = tmp_path / f"x.{ending}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        expected = f"x.{ending} has 3 frames or pages ({kind}): save the one you mean as a PNG"
        assert fault(path).endswith(expected)
        assert fault(Image.open(path)).endswith(expected)


@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "bmp", "tif", "webp", "avif", "ppm"])
def test_truncated_files_are_named_wherever_they_are_cut(tmp_path, ending):
    noise = np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    path = save(tmp_path / f"x.{ending}", noise)
    content = path.read_bytes()
    whole = opened(path)
    for length in range(1, len(content), max(1, len(content) // 40)):
        path.write_bytes(content[:length])
        if length < len(content) - 32:
            assert f"x.{ending} is damaged" in fault(path)
        else:  # at most the end marker is missing, which not every decoder needs
            with suppress(UnreadableImage):
                assert np.array_equal(opened(path), whole)


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "x.png").touch()
    assert fault(tmp_path / "x.png") == f"{tmp_path}/x.png is empty (0 bytes): copy or download it again"


@pytest.mark.parametrize("content", [b"no image", b"\0" * 100, b"ftypheic" * 9, b"%!PS-Adobe-3.0 EPSF-3.0\nshowpage\n"])
def test_other_files_are_named_with_the_formats_that_are_read(tmp_path, content):
    (tmp_path / "x.heic").write_bytes(content)
    message = fault(str(tmp_path / "x.heic"))
    assert message.startswith(f"{tmp_path}/x.heic is damaged, or not an image in a format that is read (JPEG, PNG")
    assert message.endswith("convert it to PNG")


def test_missing_files_and_folders_are_named(tmp_path):
    assert fault(tmp_path / "x.png") == f"{tmp_path}/x.png is missing"
    assert fault(tmp_path) == f"{tmp_path} cannot be read (Is a directory)"


def test_huge_images_are_named_before_they_are_decoded(tmp_path):
    for size, expected in (
        ((30_000, 3_000), "x.png has 30000 x 3000 pixels; at most 89478485 are read: shrink it"),
        ((20_000, 20_000), "x.png is too large to be read"),  # Pillow's own limit
        ((2, 201), "x.png has 2 x 201 pixels; no side may be over 100 times the other: crop it"),
    ):
        header = struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0)
        Image.new("L", (1, 1)).save(tmp_path / "x.png")
        content = bytearray((tmp_path / "x.png").read_bytes())
        content[16:29] = header
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        (tmp_path / "x.png").write_bytes(content)
        assert expected in fault(tmp_path / "x.png")


def test_a_file_of_absurd_length_is_not_read(tmp_path):
    with open(tmp_path / "x.jpg", "wb") as handle:
        handle.truncate(images.MOST_BYTES + 1)
    assert fault(tmp_path / "x.jpg").endswith("x.jpg has 268435457 bytes; at most 268435456 are read: shrink it")


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_pixels_without_a_known_range_are_refused(tmp_path, mode):
    path = save(tmp_path / "x.tif", Image.new(mode, (4, 4)))
    for source in (path, Image.new(mode, (4, 4))):
        assert "known: save it" in fault(source)


@pytest.mark.parametrize(("tag", "value"), [(images.BITS_PER_SAMPLE, 12), (images.PHOTOMETRIC, 0)])
def test_twelve_bits_and_white_as_zero_are_refused(tmp_path, tag, value):
    """Pillow reads both as if they were 16 bits with black as 0."""
    path = save(tmp_path / "x.tif", np.zeros((2, 2), np.uint16))
    content = path.read_bytes()
    entry = content.index(struct.pack("<HHI", tag, 3, 1)) + 8  # a tag of one 16-bit number
    path.write_bytes(content[:entry] + struct.pack("<H", value) + content[entry + 2 :])
    assert "whose white is not known: save it with 8 or 16 bits per channel, black as 0" in fault(path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 8, 9)), "image is an array [3, 8, 9]; channels come last: transpose(1, 2, 0)"),
        (np.zeros((2, 8, 8, 3)), "image is an array [2, 8, 8, 3]; allowed are [H, W] and [H, W, 1 to 4]"),
        (np.zeros((8, 8, 5)), "image is an array [8, 8, 5]; allowed are"),
        (np.zeros((2, 8, 8)), "image is an array [2, 8, 8]; channels come last: transpose(1, 2, 0), or [..., None]"),
        (np.zeros((9, 8, 8)), "image is an array [9, 8, 8]; allowed are [H, W] and [H, W, 1 to 4], and [N, H, W"),
        (np.zeros(8), "image is an array [8]; allowed are"),
        (np.zeros((0, 8)), "image is damaged (8 x 0 pixels)"),
        (np.zeros((8, 8), np.int64), "image is of int64; allowed are uint8, uint16, bool and floats from 0 to 1"),
        (np.full((8, 8), 255.0), "image has values from 255 to 255; floats go from 0 to 1: rescale them"),
        (np.full((8, 8), -1.0), "image has values from -1 to -1; floats"),
        (np.full((8, 8), np.nan), "image has values from nan to nan; floats"),
        (torch.zeros(8, 8, 3), "image is a tensor [8, 8, 3]; channels come first: permute(2, 0, 1)"),
        (torch.zeros(9, 8, 8), "image is a tensor [9, 8, 8]; allowed are [H, W] and [1 to 4, H, W], and [N, 1 to"),
        (torch.zeros(8), "image is a tensor [8]; allowed are"),
    ],
)
def test_arrays_of_another_kind_are_refused(array, message):
    assert message in fault(array)


def test_something_else_is_a_type_error():
    with pytest.raises(
        TypeError, match=r"image 1 is a int; allowed are a path, a PIL image, a numpy array or a tensor"
    ):
        open_image(3, "image 1")


def test_names_are_split_by_their_endings_and_hidden_files_left_out():
    names = ["a.PNG", "b/c.jpeg", "notes.txt", ".DS_Store", "b/._c.jpeg", ".thumbs/d.png", "e.heic", "f"]
    assert image_names(names) == (["a.PNG", "b/c.jpeg", "e.heic"], ["notes.txt", "f"])
