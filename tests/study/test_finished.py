"""Specs keep what finished jobs hold already: more captions than needed, and the order of arms."""

from pathlib import Path

import pytest

from bigain.core.provenance import write_provenance
from bigain.core.records import canonical
from bigain.study.finished import in_finished_order, with_all_encoded

SPEC = {"backbone": {"id": "u", "dtype": "float32"}, "dataset": {"id": "d"}, "captions": 8, "threads": 1, "code": {}}


@pytest.fixture
def finished(tmp_path):
    """Write a result file with a spec as its provenance, and return its path."""

    def write(spec):
        file = tmp_path / "result"
        file.write_bytes(b"...")
        write_provenance(file, spec, {})
        return str(file)

    return write


@pytest.mark.parametrize("needed", [0, 5, 8])
def test_captions_beyond_those_needed_stay(finished, needed):
    assert with_all_encoded(SPEC | {"captions": needed}, "captions", finished(SPEC)) == SPEC


@pytest.mark.parametrize(
    ("needed", "changes"),
    [
        (9, {}),
        (0, {"threads": 2}),
        (0, {"code": {"jobs.encode": "1"}}),
        (0, {"captions": "8"}),
        (0, {"captions": True}),
    ],
)
def test_other_conditions_are_encoded_as_the_config_says(finished, needed, changes):
    assert with_all_encoded(SPEC | {"captions": needed}, "captions", finished(SPEC | changes)) == SPEC | {
        "captions": needed
    }


ARMS = [("none", None), ("todo", 2), ("tome", 0.3), ("tome", 0.7)]


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        ([("none", None), ("tome", 0.7), ("tome", 0.3), ("todo", 2)], [0, 3, 2, 1]),
        ([("none", None), ("tome", 0.7), ("tome", 0.3)], [0, 1, 2, 3]),
        ([("none", None), ("tome", 0.7), ("tome", 0.3), ("todo", 2), ("sito", 0.7)], [0, 1, 2, 3]),
        ([("none", None), ("tome", 0.7), ("tome", 0.31), ("todo", 2)], [0, 1, 2, 3]),
    ],
)
def test_arms_stay_in_the_finished_order(finished, arms, expected):
    file = finished({"arms": arms})
    assert in_finished_order(ARMS, file) == [ARMS[k] for k in expected]
    calibrated = [(*arm, f"file of {arm}") for arm in ARMS]
    assert in_finished_order(calibrated, file) == [calibrated[k] for k in expected]
    assert canonical({"arms": in_finished_order(ARMS, file)}) == canonical({"arms": [ARMS[k] for k in expected]})


@pytest.mark.parametrize("content", [None, "", "[]", '{"spec": {"arms": [["none", null]]}}'])
def test_damaged_provenance_is_ignored(tmp_path, content):
    if content is not None:
        Path(tmp_path, "result.json").write_text(content)
    assert with_all_encoded(SPEC, "captions", str(tmp_path / "result")) == SPEC
    assert in_finished_order(ARMS, str(tmp_path / "result")) == ARMS
