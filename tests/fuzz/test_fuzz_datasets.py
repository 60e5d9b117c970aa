"""Data sets with broken annotations, ids and images: read, or refused with a message that names the file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigain import datasets
from bigain.datasets import integrity, photos
from bigain.datasets.base import UnreadableImage
from tests.helpers.layouts import WRITERS, pets_lines
from tests.helpers.mutations import MARKS, broken_bytes, broken_tree, cases, is_json, odd_values, refusal, replace_file

pytestmark = MARKS

ANNOTATIONS = [
    ("fashion", "items.parquet"),
    ("fashion_scenes", "items.parquet"),
    ("fashion_scenes", "scenes.parquet"),
    ("pets", "annotations/test.txt"),
    ("pets_trainval", "annotations/trainval.txt"),
    ("pets_all", "annotations/test.txt"),
    ("coco2017", "annotations/instances_val2017.json"),
    ("coco2017", "annotations/captions_val2017.json"),
    ("coco2017 zipped", "annotations_trainval2017.zip"),
    ("coco2017 zipped", "val2017.zip"),
]
PICTURES = [
    ("pets", "images/Abyssinian_0.jpg"),
    ("pets_trainval", "images/Abyssinian_100.jpg"),
    ("pets_all", "images/Abyssinian_0.jpg"),
    ("imagenet1k", "val/n01558993/ILSVRC2012_val_00000000.JPEG"),
    ("imagenet100", "val/n01558993/ILSVRC2012_val_00000000.JPEG"),
    ("coco2017", "val2017/000000000100.jpg"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Write one folder per reader, beside a canary that no name in it may reach."""
    written = {}
    for name, write in WRITERS.items():
        top = tmp_path_factory.mktemp("top")
        (top / "canary.jpg").write_bytes(b"not in the data set")
        written[name] = write(top / "data")
    return written


@pytest.fixture(scope="module")
def opened(folders):
    """Load the data sets whose images are files, which are read on demand."""
    return {name: (datasets.load(settings(name, folders[name])), folders[name]) for name, _ in PICTURES}


def settings(name, folder):
    return {"reader": name.split()[0], "path": str(folder)}


def look_at(name, folder):
    """Read a data set and its images that exist; the message for an unreadable image names its file."""
    dataset = datasets.load(settings(name, folder))
    assert len(set(dataset.ids)) == len(dataset.ids) == len(dataset.files) == len(dataset.captions)
    assert all(0 <= label < len(dataset.prompts) for labels in dataset.labels for label in labels)
    for i in [i for i, file in enumerate(dataset.files) if dataset.store.has(file)][:20]:
        assert ".." not in dataset.files[i]
        message = refusal(lambda: photos.crops(dataset, [i], 16, 3), UnreadableImage)  # noqa: B023 - called at once
        assert message is None or dataset.files[i].rsplit("/", 1)[-1] in message


@pytest.mark.parametrize(("name", "file"), ANNOTATIONS)
@given(data=st.data())
@cases(60)
def test_damaged_annotations_are_read_or_named(folders, name, file, data):
    path = folders[name] / file
    whole = path.read_bytes()
    try:
        replace_file(path, data.draw(broken_bytes(whole)))
        message = refusal(lambda: look_at(name, folders[name]), (ValueError, FileNotFoundError))
        assert message is None or file.rsplit("/", 1)[-1] in message, message
        assert message is None or integrity.problems(settings(name, folders[name]))
    finally:
        replace_file(path, whole)


@pytest.mark.parametrize(("name", "file"), PICTURES)
@given(data=st.data())
@cases(60)
def test_damaged_images_are_read_or_named(opened, name, file, data):
    dataset, folder = opened[name]
    whole = (folder / file).read_bytes()
    place = dataset.files.index(file.removeprefix("val/").removeprefix("val2017/"))
    try:
        replace_file(folder / file, data.draw(broken_bytes(whole)))
        message = refusal(lambda: photos.crops(dataset, [place], 16, 3), UnreadableImage)
        assert message is None or file in message
    finally:
        replace_file(folder / file, whole)


NAMES = [
    "../canary",
    "../../canary",
    "/etc/passwd",
    "a\0b",
    "x" * 300,
    "Abyssinian_0",
    "Ä_1",
    "..",
    ".",
    "a/../../canary",
]
lines = st.builds(
    lambda *parts: " ".join(parts),
    st.sampled_from(NAMES) | st.text(max_size=8),
    *[st.sampled_from(["0", "1", "2", "37", "38", "-1", "²", "1" * 30, "1" * 5000, "1.0", ""]) for _ in range(3)],
)


@given(line=lines | st.text(max_size=30), place=st.integers(0, 37), instead=st.booleans())
@cases(200)
def test_a_changed_line_of_pets_is_read_or_named(folders, line, place, instead):
    folder = folders["pets"]
    changed = pets_lines(0)
    changed[place : place + instead] = [line]
    try:
        (folder / "annotations/test.txt").write_text("\n".join(changed), encoding="utf-8", errors="replace")
        message = refusal(lambda: look_at("pets", folder), ValueError)
        assert message is None or "test.txt" in message, message
        assert message is not None or "canary" not in line
    finally:
        (folder / "annotations/test.txt").write_text("\n".join(pets_lines(0)))


@given(data=st.data())
@cases(60)
def test_changed_checksums_are_reported_as_problems(folders, data):
    folder = folders["coco2017 zipped"]
    integrity.record_checksums("coco2017", str(folder))
    changed, _ = data.draw(
        broken_tree(json.loads((folder / integrity.CHECKSUMS).read_text()), odd_values.filter(is_json))
    )
    content = json.dumps(changed).encode()
    (folder / integrity.CHECKSUMS).write_bytes(data.draw(st.just(content) | broken_bytes(content)))
    first, *others = integrity.problems(settings("coco2017", folder))
    assert "its lists name 4 images; the official ones 5000" in first
    assert all(str(folder) in problem for problem in others)
    (folder / integrity.CHECKSUMS).unlink()


@given(content=st.binary(max_size=60) | st.lists(st.integers(-1, 60)).map(lambda c: "\n".join(map(str, c)).encode()))
@cases(100)
def test_a_subset_is_read_or_named(folders, tmp_path_factory, content):
    path = tmp_path_factory.mktemp("subset") / "mine.txt"
    path.write_bytes(content)
    chosen = {"reader": "pets", "path": str(folders["pets"]), "subset": str(path)}
    message = refusal(lambda: datasets.load(chosen), ValueError)
    positions = content.split()
    fits = positions and all(text.isdigit() and int(text) < 37 for text in positions)
    assert (message is None) == bool(fits and len(set(map(int, positions))) == len(positions))
    assert message is None or "mine.txt" in message or "there is no image at position" in message
