"""COCO's annotations with one change: read, or refused with a message that names the list and the entry."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigain import datasets
from tests.helpers.layouts import CATEGORIES, IMAGES, coco_texts, write_coco
from tests.helpers.mutations import MARKS, broken_tree, cases, is_json, odd_values, refusal

pytestmark = MARKS

COCO = coco_texts()
INSTANCES, CAPTIONS = COCO
ABSURD = [None, True, 1.0, "1", [], {}, -1, 1 << 63, 10**400]
TEXTS = [None, 7, [], "\ud800"]
PATHS = ["../canary.jpg", "/etc/passwd", "a/../../canary.jpg", "", "a\0.jpg", "x" * 300]
# Values that are always refused: (file, list, key, values).
WRONG = [
    (INSTANCES, "images", "id", ABSURD),
    (INSTANCES, "images", "file_name", TEXTS + PATHS),
    (INSTANCES, "categories", "id", ABSURD),
    (INSTANCES, "categories", "name", TEXTS),
    (INSTANCES, "annotations", "image_id", [*ABSURD, 99, 10**12]),
    (INSTANCES, "annotations", "category_id", [*ABSURD, 12]),
    (CAPTIONS, "annotations", "image_id", [*ABSURD, 99]),
    (CAPTIONS, "annotations", "caption", TEXTS),
]
LISTS = [(INSTANCES, name) for name in COCO[INSTANCES]] + [(CAPTIONS, name) for name in COCO[CAPTIONS]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    top = tmp_path_factory.mktemp("top")
    (top / "canary.jpg").write_bytes(b"not in the data set")
    return write_coco(top / "data", zipped=False)


def refusal_with(folder, file, content):
    """Read the data set with this content in one of its files; return the message of a refusal."""
    (folder / file).write_text(json.dumps(content))
    try:
        return refusal(lambda: look_at(folder), ValueError)
    finally:
        (folder / file).write_text(json.dumps(COCO[file]))


def look_at(folder):
    dataset = datasets.load({"reader": "coco2017", "path": str(folder)})
    assert len(set(dataset.ids)) == len(set(dataset.files)) == len(dataset) <= IMAGES
    assert len(dataset.prompts) == len(CATEGORIES)
    assert all(0 <= label < len(CATEGORIES) for labels in dataset.labels for label in labels)
    assert all(isinstance(text, str) for text in (*dataset.prompts, *dataset.captions))


@pytest.mark.parametrize("file", COCO)
@given(data=st.data())
@cases(150)
def test_changed_annotations_are_read_or_named(folder, file, data):
    changed, _ = data.draw(broken_tree(COCO[file], odd_values.filter(is_json)))
    message = refusal_with(folder, file, changed)
    assert message is None or file.rsplit("/", 1)[1] in message or str(folder) in message, message


@given(where=st.sampled_from(WRONG), data=st.data())
@cases(150)
def test_a_wrong_entry_is_always_refused(folder, where, data):
    file, name, key, values = where
    changed = copy.deepcopy(COCO[file])
    place = data.draw(st.integers(0, len(changed[name]) - 1))
    changed[name][place][key] = data.draw(st.sampled_from(values))
    message = refusal_with(folder, file, changed)
    assert message
    assert file in message
    assert key in message or "there is no" in message


@given(where=st.sampled_from(LISTS), data=st.data())
@cases(60)
def test_a_repeated_entry_is_always_refused(folder, where, data):
    file, name = where
    changed = copy.deepcopy(COCO[file])
    changed[name].append(data.draw(st.sampled_from(changed[name])))
    message = refusal_with(folder, file, changed)
    assert message
    assert file in message
    assert f"{name}: id" in message


def test_two_images_cannot_share_a_file(folder):
    changed = copy.deepcopy(COCO[INSTANCES])
    changed["images"][1]["file_name"] = changed["images"][0]["file_name"]
    assert "'000000000100.jpg' is listed twice" in refusal_with(folder, INSTANCES, changed)
