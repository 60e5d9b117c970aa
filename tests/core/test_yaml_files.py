"""YAML files are read whole, or refused with the file, the line and the key."""

import re

import pytest

from bigain.core.yaml_files import read_yaml


@pytest.fixture
def file(tmp_path):
    return tmp_path / "study.yaml"


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("", None),
        ("a: &x {b: 1}\nc: *x\n", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: {b: 1}\nc: {b: 2}\n", {"a": {"b": 1}, "c": {"b": 2}}),
        ("1: a\n'1': b\n", {1: "a", "1": "b"}),
        ("a: [0, 10, 1_000, '010', '1:30', 0.5, 0x10]\n", {"a": [0, 10, 1000, "010", "1:30", 0.5, 16]}),
        ('{\n\t"a": [1, 2]\n}', {"a": [1, 2]}),
        ("base: &base {b: 1}\na:\n  <<: *base\n  b: 2\n", {"base": {"b": 1}, "a": {"b": 2}}),
    ],
)
def test_what_yaml_allows_is_read(file, text, content):
    file.write_text(text)
    assert read_yaml(file) == content


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("study: a\nseeds: [0]\nstudy: b\n", "the key study is on line 1 and again on line 3; keep one"),
        ("study: a\n'study': b\n", "the key study is on line 1 and again on line 2; keep one"),
        (
            "datasets:\n  fashion:\n    images: 5\n    images: 6\n",
            "the key datasets.fashion.images is on line 3 and again on line 4; keep one",
        ),
        ("cells:\n- {task: a, task: b}\n", "the key cells.0.task is on line 2 and again on line 2; keep one"),
    ],
)
def test_a_repeated_key_is_named_with_both_lines(file, text, message):
    file.write_text(text)
    with pytest.raises(ValueError, match="keep one") as caught:
        read_yaml(file)
    assert str(caught.value) == f"{file}: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds: [0,\n  010]\n", "seeds.1: YAML reads 010 on line 2 as 8: write 8, or the number that is meant"),
        ("a: {b: 1:30}\n", "a.b: YAML reads 1:30 on line 1 as 90: write 90, or the number that is meant"),
    ],
)
def test_a_number_that_yaml_reads_in_another_base_is_refused(file, text, message):
    file.write_text(text)
    with pytest.raises(ValueError, match=re.escape(f"{file}: {message}")):
        read_yaml(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: b: c\n", ", line 1 is not YAML: mapping values are not allowed here"),
        (b"a: 1\nb: [1,\n", ", line 3 is not YAML: expected the node content, but found '<stream end>'"),
        (b"a: \xff\n", " is damaged (UnicodeDecodeError"),
        (b"a: \x00\n", " is not YAML: unacceptable character #x0000"),
        (b"a: *b\n", ", line 1 is not YAML: found undefined alias 'b'"),
        (b"? [a]\n: b\n", ", line 1 is not YAML: found unhashable key"),
        (b"a: 2001-99-99\n", " is damaged (ValueError: month must be in 1..12)"),
        (b"[" * 3000, " is damaged (RecursionError"),
    ],
)
def test_what_is_not_yaml_is_one_line(file, content, message):
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"is (not YAML|damaged)") as caught:
        read_yaml(file)
    assert str(caught.value).startswith(f"{file}{message}")
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"is a folder$"):
        read_yaml(tmp_path)
    with pytest.raises(ValueError, match=r"none\.yaml is missing$"):
        read_yaml(tmp_path / "none.yaml")
