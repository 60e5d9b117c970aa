"""Lists of prompts and class ids: what is read, and the message of every fault."""

from pathlib import Path

import pytest

from bigain.datasets.candidates import prompts_of, read_class_ids, read_prompts


def test_a_line_is_a_prompt_and_blank_lines_are_none(tmp_path):
    (tmp_path / "p").write_bytes("\ufeffa photo of a café\r\n\n  a photo of a dog  \n".encode())
    assert read_prompts(tmp_path / "p") == ["a photo of a café", "a photo of a dog"]


def test_class_ids_are_listed_or_stand_in_a_file_with_their_names(tmp_path):
    assert read_class_ids("3, 0,12") == {3: "", 0: "", 12: ""}
    (tmp_path / "ids").write_text("207 golden retriever\n0: tench\n5\n7,cock\n")
    assert read_class_ids(str(tmp_path / "ids")) == {207: "golden retriever", 0: "tench", 5: "", 7: "cock"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "p is missing: a text file with prompts, one per line, is needed"),
        (b"", "p is empty: it has to list prompts, one per line"),
        (b" \n\n", "p is empty"),
        (b"a\n\nb\na", "p, line 4 repeats line 1: 'a'"),
        (b"a\0b", "p, line 1 is not text"),
        (b"\xff\xfe\x00", "p is not a text file in UTF-8"),
    ],
)
def test_a_faulty_list_of_prompts_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "p").write_bytes(content)
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        read_prompts(tmp_path / "p")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1\ndog\n", "ids, line 2: 'dog' is not a class id, or an id and a name"),
        ("-1\n", "ids, line 1: '-1' is not a class id"),
        ("1 dog\n1 cat\n", "ids, line 2: class id 1 is listed twice"),
        ("", "ids is empty: it has to list class ids"),
    ],
)
def test_a_faulty_list_of_class_ids_is_named(tmp_path, content, message):
    (tmp_path / "ids").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_class_ids(str(tmp_path / "ids"))


def test_repeated_ids_and_missing_files_are_named():
    with pytest.raises(ValueError, match="class ids 1,2,1: each is listed once"):
        read_class_ids("1,2,1")
    for empty in ("", " , "):
        with pytest.raises(ValueError, match=f"class ids are '{empty}': list some, as in 0,3,7, or name a text file"):
            read_class_ids(empty)
    with pytest.raises(FileNotFoundError, match=r"\. is a folder: a text file with prompts"):
        read_prompts(Path())
    with pytest.raises(FileNotFoundError, match=r"ids\.txt is missing: a text file with class ids"):
        read_class_ids("ids.txt")


def test_a_template_makes_prompts_of_names():
    assert prompts_of(["dog", "{}"], "a {}, a pet") == {"dog": "a dog, a pet", "{}": "a {}, a pet"}
    for template in ("a photo", "{} and {}"):
        with pytest.raises(ValueError, match=r"has to hold \{\} once"):
            prompts_of(["dog"], template)
