"""Provenance: what is sealed reads back equal, and what was changed, cut, exchanged or lost is refused by its name."""

import json
import math

import pytest

from bigain.core.files import content_named_file, content_named_files, name_fits_content
from bigain.core.provenance import (
    ResultError,
    as_input,
    check_spec,
    checked,
    digest,
    provenance_file,
    read_provenance,
    read_sealed,
    write_provenance,
    write_sealed,
)

CONTENT = {"int": 1, "large": 2**53 + 1, "float": 0.1, "small": 5e-324, "text": "Fréchet ≤ 3 🙂", "none": None}
CONTENT |= {"nested": {"list": [1, [True, False], {}], "": ""}}
SPEC = {"task": "classification", "backbone": {"id": "u"}, "dataset": {"id": "d"}, "method": "tome", "strength": 0.5}
SPEC |= {"seed": 0, "images": [0, 4], "threads": 1}


def refused(state, read, *names):
    """Check that a call raises ResultError with this state and a message with all of these names."""
    with pytest.raises(ResultError) as raised:
        read()
    assert raised.value.state == state
    assert all(name in str(raised.value) for name in names), raised.value
    return str(raised.value)


def test_what_is_sealed_reads_back_equal(tmp_path):
    file = tmp_path / "a.json"
    write_sealed(file, CONTENT)
    assert read_sealed(file) == CONTENT
    assert type(read_sealed(file)["int"]) is int
    assert json.loads(file.read_text()).keys() == {*CONTENT, "seal"}


def test_numbers_that_are_not_finite_and_tuples_read_back(tmp_path):
    file = tmp_path / "a.json"
    write_sealed(file, {"nan": math.nan, "inf": -math.inf, "pair": (1, 2.0), "keys": {1: "a"}})
    content = read_sealed(file)
    assert math.isnan(content.pop("nan"))
    assert content == {"inf": -math.inf, "pair": [1, 2.0], "keys": {"1": "a"}}


def test_another_layout_of_the_same_content_is_the_same(tmp_path):
    file = tmp_path / "a.json"
    write_sealed(file, CONTENT)
    file.write_text(json.dumps(json.loads(file.read_text()), indent=None))
    assert read_sealed(file) == CONTENT


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"int": 1', '"int": 2'),
        ('"int": 1', '"int": 1.0'),
        ("9007199254740993", "9007199254740992"),
        ("0.1", "0.10000000000000002"),
        ("Fréchet", "Frechet"),
        ("null", "0"),
        ('"none"', '"nine"'),
        ("true", "false"),
        ('"int": 1', '"int": 1, "more": 1'),
        ('"seal": "', '"seal": "0'),
    ],
)
def test_an_edited_value_is_refused(tmp_path, old, new):
    file = tmp_path / "a.json"
    write_sealed(file, CONTENT)
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    refused("damaged", lambda: read_sealed(file), "a.json", "was changed after it was written")


def test_what_has_no_seal_is_cut_or_is_missing_is_refused(tmp_path):
    file = tmp_path / "a.json"
    refused("missing", lambda: read_sealed(file), "a.json", "is missing")
    write_sealed(file, CONTENT)
    whole = file.read_text()
    for length in range(0, len(whole) - 2, 7):
        file.write_text(whole[:length])
        refused("damaged", lambda: read_sealed(file), "a.json", "is damaged")
    file.write_bytes(whole.encode("latin-1", "replace"))
    refused("damaged", lambda: read_sealed(file), "a.json", "is damaged")
    file.write_text(json.dumps(CONTENT))
    refused("unsealed", lambda: read_sealed(file), "a.json", "has no seal")
    file.write_text("[1]")
    refused("damaged", lambda: read_sealed(file), "a.json", "does not hold a JSON object")


@pytest.fixture
def result(tmp_path):
    """A result file with its provenance."""
    file = tmp_path / "chunk-0.parquet"
    file.write_bytes(b"numbers")
    write_provenance(file, SPEC, {}, seconds=1.5)
    return file


def test_a_result_is_checked_against_its_spec_and_its_checksum(result):
    provenance = checked(result, digest(SPEC))
    assert (provenance["spec"], provenance["seconds"], provenance["inputs"]) == (SPEC, 1.5, {})
    assert as_input(result, provenance) == {
        "file": str(result),
        "spec": digest(SPEC),
        "sha256": "f3c7807d475073ba009bf4801b2d934e9f0126cb96dd19a27dbffcae23a7f5a3",
    }


def test_a_result_that_was_changed_exchanged_or_lost_is_refused(result):
    result.write_bytes(b"Numbers")
    refused("damaged", lambda: checked(result), "chunk-0.parquet is damaged or was replaced", "chunk-0.parquet.json")
    assert read_provenance(result, digest(SPEC))["spec"] == SPEC  # does not look at the file
    result.unlink()
    refused("missing", lambda: checked(result), "chunk-0.parquet is missing")
    provenance_file(result).unlink()
    refused("missing", lambda: checked(result), "chunk-0.parquet.json is missing")


def test_a_result_of_another_spec_says_what_it_was_computed_for(result):
    message = refused("outdated", lambda: checked(result, digest(SPEC | {"method": "none"})), "chunk-0.parquet")
    assert "was computed for classification, u, d, tome, 0.5, seed 0, with other settings or code than now" in message
    write_sealed(provenance_file(result), {"sha256": "-"})
    refused("damaged", lambda: checked(result), "chunk-0.parquet.json has no spec")


def test_specs_are_compared_key_by_key():
    check_spec("x", SPEC, dict(reversed(SPEC.items())))
    refused("foreign", lambda: check_spec("x", SPEC, SPEC | {"method": "none", "strength": None}), "x holds", "tome")
    changed = SPEC | {"threads": 2, "backbone": {"id": "u", "dtype": "float16"}}
    message = refused("outdated", lambda: check_spec("x", SPEC, changed))
    assert message == "x was computed with backbone.dtype None instead of float16; threads 1 instead of 2"
    refused("outdated", lambda: check_spec("x", SPEC, SPEC | {"images": [0, 8]}), "images [0, 4] instead of [0, 8]")


def test_a_file_named_after_its_content(tmp_path):
    path = tmp_path / "images-0.[x]-ab.txt"
    for content in ("one", "two", "one"):
        with content_named_file(path) as temporary:
            temporary.write_text(content)
    files = content_named_files(path)
    assert sorted(file.read_text() for file in files) == ["one", "two"]
    assert all(name_fits_content(file) and file.stem.startswith("images-0.[x]-ab-") for file in files)
    assert sorted(tmp_path.iterdir()) == files
    files[0].write_text("three")
    assert [name_fits_content(file) for file in files] == [False, True]
    files[1].rename(tmp_path / "images-0.[x]-ab.txt")
    assert content_named_files(path) == files[:1]
