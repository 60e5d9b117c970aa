"""Truncated and damaged results: refused by their checksums, with a message that names the file.

Resealed, so that the checksum fits, they meet the validating readers: scored and collected, or refused with a message
that names file and tensor or key.
"""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from bigain.core.files import read_json
from bigain.core.records import embedded_spec, read_table
from tests.helpers.mutations import MARKS, broken_bytes, broken_tree, cases, odd_values, refusal
from tests.helpers.results import SCORED, collected, reseal, score, sealed, whole, write_results

pytestmark = MARKS

FILES = [
    ("fashion", "fashion-1.parquet"),
    ("generated", "generated-1.safetensors"),
    ("generated", "reference.safetensors"),
    ("fashion", "fashion-0.parquet.json"),
    ("generated", "generated-1.safetensors.json"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("results"))


@pytest.mark.parametrize(("name", "file"), FILES)
@given(data=st.data())
@cases(40)
def test_a_damaged_result_is_refused(folder, name, file, data):
    (folder / file).write_bytes(data.draw(broken_bytes(whole(folder, file))))
    message = refusal(lambda: score(folder, name), ValueError)
    assert is_unchanged(folder, file) if message is None else file in message
    whole(folder, file)


def is_unchanged(folder, file):
    """Whether a file has its old content; blanks between the values of JSON are not content."""
    now, before = (folder / file).read_bytes(), (folder / f"whole {file}").read_bytes()
    return now == before or (file.endswith(".json") and json.loads(now) == json.loads(before))


@pytest.mark.parametrize(("name", "file"), FILES)
@given(data=st.data())
@cases(60)
def test_a_resealed_result_is_scored_or_named(folder, name, file, data):
    (folder / file).write_bytes(data.draw(broken_bytes(whole(folder, file))))
    reseal(folder / file)
    message = refusal(lambda: score(folder, name), ValueError)
    named = file.removesuffix(".json")  # provenance with another spec is a fault of the file that it belongs to
    assert message is None or named in message, message
    whole(folder, file)


@pytest.mark.parametrize(("name", "file"), [*FILES, ("fashion_scenes", "fashion_scenes-1.parquet")])
@given(place=st.floats(0, 0.999))
@cases(15)
def test_a_truncated_result_is_always_refused(folder, name, file, place):
    content = whole(folder, file)
    (folder / file).write_bytes(content[: int(place * len(content))])
    assert file in (refusal(lambda: score(folder, name), ValueError) or "")
    reseal(folder / file)
    assert file in (refusal(lambda: score(folder, name), ValueError) or "")
    whole(folder, file)


@given(data=st.data(), file=st.sampled_from(["reference.safetensors", "generated-0.safetensors"]))
@cases(80)
def test_wrong_tensors_are_named(folder, data, file):
    tensors = load_file(folder / f"whole {file}")
    name = data.draw(st.sampled_from(sorted(tensors)))
    old = tensors.pop(name)
    kind = data.draw(st.sampled_from(["missing", "nan", "inf", "integers", "half", "flat", "wide", "none", "huge"]))
    damaged = old.copy()
    damaged.flat[data.draw(st.integers(0, old.size - 1))] = {"nan": np.nan, "inf": np.inf, "huge": 1e38}.get(kind, 0)
    new = {
        "integers": lambda: old.astype(np.int64),
        "half": lambda: old.astype(np.float16),
        "flat": lambda: old.reshape(-1)[:7],
        "wide": lambda: np.concatenate([old, old], axis=-1),
        "none": lambda: old[:0],
    }.get(kind, lambda: damaged)()
    save_file(tensors if kind == "missing" else {**tensors, name: new}, folder / file)
    reseal(folder / file)
    message = refusal(lambda: score(folder, "generated"), ValueError)
    fits = kind == "none" and file.startswith("generated")  # a chunk of which no image was kept
    assert fits if message is None else file in message and (name in message or "features" in message)
    whole(folder, file)


@given(data=st.data())
@cases(300)
def test_a_changed_metrics_file_is_collected_or_named(folder, data):
    changed, _ = data.draw(broken_tree(SCORED, odd_values))
    try:
        content = sealed(changed).encode()
    except (TypeError, ValueError, RecursionError):
        content = data.draw(broken_bytes(sealed(SCORED).encode()))
    (folder / "metrics.json").write_bytes(content)
    message = refusal(lambda: collected(folder, {".": SCORED["spec"]}), ValueError)  # the cell's folder is this one
    assert message is None or "metrics" in message, message
    if message is None:
        rows = pd.read_parquet(folder / "results.parquet")
        assert np.isfinite(rows[["value", "low", "high", "seconds"]]).all(axis=None)


@pytest.mark.parametrize("read", [read_table, read_json, embedded_spec])
@given(data=st.data())
@cases(100)
def test_readers_name_their_file(folder, read, data):
    file = {read_table: "fashion-0.parquet", embedded_spec: "items.parquet"}.get(read, "metrics.json")
    (folder / file).write_bytes(data.draw(broken_bytes(whole(folder, file)) | st.just(b"[" * 10**5)))
    message = refusal(lambda: read(folder / file), ValueError)
    assert message is None or file in message
    whole(folder, file)
