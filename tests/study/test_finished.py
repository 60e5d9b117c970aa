"""Specs keep what finished jobs hold already: more captions than needed, and the order of arms."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from bigain.core.records import canonical, write_table
from bigain.study.finished import in_measured_order, in_probed_order, with_all_captions

SPEC = {"backbone": {"id": "u", "dtype": "float32"}, "dataset": {"id": "d"}, "captions": 8, "threads": 1, "code": {}}


@pytest.fixture
def finished(tmp_path):
    def write(**changes):
        save_file({"null": np.zeros(1)}, tmp_path / "c.safetensors", {"spec": canonical(SPEC | changes)})
        return str(tmp_path / "c.safetensors")

    return write


@pytest.mark.parametrize("needed", [0, 5, 8])
def test_captions_beyond_those_needed_stay(finished, needed):
    assert with_all_captions(SPEC | {"captions": needed}, finished()) == SPEC


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
    assert with_all_captions(SPEC | {"captions": needed}, finished(**changes)) == SPEC | {"captions": needed}


@pytest.mark.parametrize("content", [None, b"", b"\x08\0\0\0\0\0\0\0[]      ", b"x" * 40])
def test_a_damaged_file_of_conditions_is_ignored(tmp_path, content):
    file = tmp_path / "c.safetensors"
    if content is not None:
        file.write_bytes(content)
    assert with_all_captions(SPEC, str(file)) == SPEC


ARMS = [("none", None), ("todo", 2), ("tome", 0.3), ("tome", 0.7)]


@pytest.mark.parametrize(
    ("finished", "expected"),
    [
        ([("none", None), ("tome", 0.7), ("tome", 0.3), ("todo", 2)], [0, 3, 2, 1]),
        ([("none", None), ("tome", 0.7), ("tome", 0.3)], [0, 1, 2, 3]),
        ([("none", None), ("tome", 0.7), ("tome", 0.3), ("todo", 2), ("sito", 0.7)], [0, 1, 2, 3]),
        ([("none", None), ("tome", 0.7), ("tome", 0.31), ("todo", 2)], [0, 1, 2, 3]),
    ],
)
def test_arms_stay_in_the_finished_order(tmp_path, finished, expected):
    write_table(tmp_path / "spectrum.parquet", {"a": [1]}, {"arms": finished})
    ordered = in_probed_order(ARMS, str(tmp_path / "spectrum.parquet"))
    assert ordered == [ARMS[k] for k in expected]
    assert canonical({"arms": ordered}) == canonical({"arms": json.loads(json.dumps(ordered))})
    rows = [f'"m","{method}",{"" if strength is None else strength}' for method, strength in finished]
    (tmp_path / "m.csv").write_text("\n".join(['"backbone","method","strength"', *rows, ""]))
    calibrated = [(*arm, f"file of {arm}") for arm in ARMS]
    assert in_measured_order(calibrated, str(tmp_path / "m.csv")) == [calibrated[k] for k in expected]


@pytest.mark.parametrize(
    "content", [None, b"", b"a,b\n1,2\n", b"method,strength\nnone,x\n", b"\xff\n", b"method\nnone\n"]
)
def test_a_damaged_file_of_measurements_is_ignored(tmp_path, content):
    for name, in_order in {"m.csv": in_measured_order, "s.parquet": in_probed_order}.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        assert in_order(ARMS, str(tmp_path / name)) == ARMS
