"""Label trees from JSON files: levels of a nested tree, and files that are refused."""

import json

import pytest

from bigain.datasets.fashion_mnist import CLASSES
from bigain.datasets.label_tree import read_levels

NAMES = ["beagle", "pug", "tabby", "hammer", "saw", "saw"]


def written(folder, content):
    file = folder / "tree.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_levels_keep_the_order_of_the_file_and_whole_what_is_not_divided(tmp_path):
    file = written(tmp_path, {"animals": {"cats": ["tabby"], "dogs": ["pug", "beagle"]}, "tools": [5, "hammer", 4]})
    assert read_levels(file, NAMES) == (((2, 1, 0), (5, 3, 4)), ((2,), (1, 0), (5, 3, 4)))


def test_the_embedded_data_s_tree_holds_its_classes(root):
    (groups,) = read_levels(root / "config/fashion_tree.json", CLASSES)
    assert [{CLASSES[c] for c in group} for group in groups] == [
        {"t-shirt", "pullover", "coat", "shirt", "dress"},
        {"trouser"},
        {"sandal", "sneaker", "ankle boot"},
        {"bag"},
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": ["beagle", "pug", "tabby", "hammer", 4]}, r"in no group: 'saw' \(5\)"),
        ({"a": [0, 1], "b": ["pug", 2, 3, 4, 5]}, r"class 'pug' is listed twice: a/1 and b/'pug'"),
        ({"a": ["beagel"], "b": [1, 2, 3, 4, 5]}, r"a: unknown class 'beagel'\. Did you mean 'beagle'\?"),
        ({"a": ["saw"], "b": [0, 1, 2, 3]}, r"a/'saw': classes 4 and 5 have this name; list them by number"),
        ({"a": [6]}, "a/6: classes are numbered from 0 to 5"),
        ({"a": [True]}, "a: True has to be the name of a class, or its number"),
        ({"a": {"b": []}}, "a/b is empty"),
        ({}, "the tree is empty"),
        ({"a": "beagle"}, "a: 'beagle' has to be a list of classes, or an object of groups"),
        (["beagle"], "is not an object of groups"),
        ("{", "not a valid JSON file"),
    ],
)
def test_a_wrong_tree_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=rf"tree\.json: .*{message}"):
        read_levels(written(tmp_path, content), NAMES)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.json is missing"):
        read_levels(tmp_path / "none.json", NAMES)
