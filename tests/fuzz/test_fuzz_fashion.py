"""The tables of the embedded data sets with one changed value, and Fashion-MNIST's files with changed bytes."""

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigain import datasets
from bigain.datasets import fashion_mnist
from tests.helpers.layouts import ITEMS, SCENES, write_fashion
from tests.helpers.mutations import MARKS, broken_bytes, cases, refusal

pytestmark = MARKS

NUMBERS = [0, 9, 10, 11, 100, 10**12, -1, -(2**63), 2**63 - 1, None]
CHANGES = st.one_of(
    st.tuples(st.just("items.parquet"), st.sampled_from(["id", "label"]), st.sampled_from(NUMBERS)),
    st.tuples(st.just("scenes.parquet"), st.just("id"), st.sampled_from(NUMBERS)),
    st.tuples(st.just("items.parquet"), st.just("pixels"), st.sampled_from([b"", b"x" * 783, b"x" * 785, None])),
    st.tuples(
        st.just("scenes.parquet"),
        st.just("items"),
        st.lists(st.sampled_from([0, ITEMS - 1, ITEMS, -1, 10**12, None]), max_size=5) | st.none(),
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_fashion(tmp_path_factory.mktemp("fashion"))


def fits(column, value, others):
    """Return whether a value is valid in a column; `others` are the values of the other rows."""
    if column == "id":
        return value is not None and value >= 0 and value not in others
    if column == "label":
        return value is not None and 0 <= value < 10
    if column == "pixels":
        return False
    return value is not None and len(value) == 4 and all(item is not None and 0 <= item < ITEMS for item in value)


@given(change=CHANGES, row=st.integers(0, SCENES - 1))
@cases(200)
def test_a_changed_value_is_read_or_named_with_its_column(folder, change, row):
    file, column, value = change
    whole = pq.read_table(folder / file)
    values = whole[column].to_pylist()
    possible = fits(column, value, values[:row] + values[row + 1 :])
    values[row] = value
    place = whole.column_names.index(column)
    try:
        pq.write_table(whole.set_column(place, column, pa.array(values, whole[column].type)), folder / file)
        reader = {"reader": "fashion" if file == "items.parquet" else "fashion_scenes", "path": str(folder)}
        message = refusal(lambda: datasets.load(reader), ValueError)
    finally:
        pq.write_table(whole, folder / file)
    assert (message is None) == possible
    assert message is None or (file in message and column in message)


@given(file=st.sampled_from(["items.parquet", "scenes.parquet"]), kind=st.sampled_from(["none", "twice", "one less"]))
@cases(6)
def test_missing_and_repeated_rows(folder, file, kind):
    whole = pq.read_table(folder / file)
    changed = {"none": whole.slice(0, 0), "twice": pa.concat_tables([whole, whole]), "one less": whole.slice(1)}[kind]
    try:
        pq.write_table(changed, folder / file)
        reader = {"reader": "fashion" if file == "items.parquet" else "fashion_scenes", "path": str(folder)}
        message = refusal(lambda: datasets.load(reader), ValueError)
    finally:
        pq.write_table(whole, folder / file)
    assert message is None if kind == "one less" else file in message


@given(data=st.data())
@cases(100)
def test_a_damaged_official_file_is_always_refused(folder, data):
    name, _ = fashion_mnist.OFFICIAL["test"][0]
    content = gzip.compress(bytes(2000), mtime=0)
    (folder / name).write_bytes(data.draw(broken_bytes(content)))
    message = refusal(lambda: fashion_mnist.read_split(folder, "test"), ValueError)
    assert message
    assert name in message


def test_a_gzip_bomb_is_not_unpacked(folder):
    name, _ = fashion_mnist.OFFICIAL["test"][0]
    with gzip.open(folder / name, "wb", compresslevel=9) as packed:
        for _ in range(8):
            packed.write(bytes(fashion_mnist.MOST_BYTES // 4))
    message = refusal(lambda: fashion_mnist.read_split(folder, "test"), ValueError)
    assert f"{name}: the sha256 of its content is" in message
