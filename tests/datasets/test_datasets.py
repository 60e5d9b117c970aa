"""The committed data: balanced, labelled, deterministic."""

import gzip
from collections import Counter

import numpy as np
import pytest

from bigain.datasets import fashion_mnist, load, photos, scenes


@pytest.fixture(scope="module")
def items(root):
    return load({"reader": "fashion", "path": root / "resources/fashion"})


@pytest.fixture(scope="module")
def composed(root):
    return load({"reader": "fashion_scenes", "path": root / "resources/fashion"})


def test_every_prefix_of_the_items_is_balanced(items):
    assert len(items) == 2000
    for count in (10, 140, 2000):
        assert set(Counter(items.first(count).labels).values()) == {count // 10}
    assert not items.multi_label
    assert items.captions[9] == "a photo of a ankle boot"
    assert len(set(items.ids)) == 2000


def test_pixels_sit_in_the_middle_of_the_canvas(items):
    images = photos.crops(items, [0, 1], size=32, channels=1)
    assert images.shape == (2, 1, 32, 32)
    assert images.dtype == np.uint8
    assert images[:, :, :2].sum() == images[:, :, :, -2:].sum() == 0
    assert images.max() > 200


def test_scenes_show_what_their_labels_and_captions_say(composed):
    assert len(composed) == 1000
    assert composed.multi_label
    assert {len(labels) for labels in composed.labels} == {1, 2, 3, 4}
    for labels, caption in zip(composed.labels, composed.captions, strict=True):
        assert {f"a {composed.class_names[c]}" for c in labels} == set(
            caption.removeprefix("a photo of ").split(" and ")
        )


def test_a_scene_is_four_halves_in_reading_order():
    items = np.stack([np.full((28, 28), value, np.uint8) for value in (10, 20, 30, 40)])
    scene = scenes.compose(items)
    assert scene.shape == (32, 32)
    assert [scene[8, 8], scene[8, 24], scene[24, 8], scene[24, 24]] == [10, 20, 30, 40]
    assert scene[0].sum() == 0


def test_more_images_than_there_are(items):
    with pytest.raises(ValueError, match="fashion: 2001 images requested, 2000 available"):
        items.first(2001)


def test_the_official_files_are_checked(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte\.gz is missing"):
        fashion_mnist.read_split(tmp_path, "train")
    name = fashion_mnist.OFFICIAL["test"][0][0]
    (tmp_path / name).write_bytes(gzip.compress(bytes(100)))
    with pytest.raises(ValueError, match=f"{name}: the sha256 of its content is"):
        fashion_mnist.read_split(tmp_path, "test")
    (tmp_path / name).write_bytes(gzip.compress(bytes(100))[:-20])
    with pytest.raises(ValueError, match=f"{name} is truncated"):
        fashion_mnist.read_split(tmp_path, "test")


def test_a_missing_data_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"items\.parquet is missing"):
        load({"reader": "fashion", "path": tmp_path})
