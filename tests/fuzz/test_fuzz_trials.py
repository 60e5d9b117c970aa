"""Trials with errors that are not finite, with wrong columns or of another cell: refused, or scored as they are."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.mutations import MARKS, cases, refusal
from tests.helpers.results import reseal, score, whole, write_results

pytestmark = MARKS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("results"))


BAD_ERRORS = [float("nan"), float("inf"), float("-inf"), None]


@pytest.mark.parametrize("name", ["fashion", "fashion_scenes"])
@given(rows=st.lists(st.integers(0, 45), min_size=1), value=st.sampled_from(BAD_ERRORS))
@cases(40)
def test_an_error_that_is_not_finite_is_never_scored(folder, name, rows, value):
    file = f"{name}-1.parquet"
    frame = pq.read_table(folder / f"whole {file}").to_pydict()
    frame["error"] = [value if k in rows else error for k, error in enumerate(frame["error"])]
    pq.write_table(pa.table(frame), folder / file)
    reseal(folder / file)
    message = refusal(lambda: score(folder, name), ValueError)
    assert message
    assert file in message
    assert "'error'" in message
    whole(folder, file)


ODD_COLUMNS = st.sampled_from(["text", "float", "bool", "missing", "twice", "null", "list", "bytes"])


def _changed_column(table, name, kind):
    place, values = table.column_names.index(name), table[name].to_pylist()
    if kind == "missing":
        return table.remove_column(place)
    if kind == "twice":
        return table.append_column(name, table[name])
    new = {
        "text": lambda: pa.array([str(value) for value in values]),
        "float": lambda: pa.array([float(value) for value in values]),
        "bool": lambda: pa.array([bool(value) for value in values]),
        "null": lambda: pa.nulls(len(values)),
        "list": lambda: pa.array([[value] for value in values]),
        "bytes": lambda: pa.array([b"x" for _ in values]),
    }[kind]()
    return table.set_column(place, name, new)


@given(column=st.sampled_from(["image", "class", "t", "stage", "error"]), kind=ODD_COLUMNS)
@cases(45)
def test_a_wrong_column_is_named(folder, column, kind):
    file = "fashion-1.parquet"
    pq.write_table(_changed_column(pq.read_table(folder / f"whole {file}"), column, kind), folder / file)
    reseal(folder / file)
    message = refusal(lambda: score(folder, "fashion"), ValueError)
    assert (column, kind) == ("error", "float") if message is None else (file in message and column in message)
    whole(folder, file)


changes = st.tuples(
    st.sampled_from(["image", "class", "t", "stage"]),
    st.sampled_from([-1, 0, 99, 10**6, -(2**63), 2**63 - 1]),
    st.sampled_from(["set", "set", "repeat", "remove", "none", "foreign"]),
    st.lists(st.integers(0, 130), min_size=1, max_size=5, unique=True),
)


@given(change=changes)
@cases(150)
def test_trials_of_another_cell_are_named(folder, change):
    named_or_scored(folder, "fashion", *change)


@given(change=changes)
@cases(12)  # scoring takes a bootstrap
def test_trials_of_another_cell_of_several_labels_are_named(folder, change):
    named_or_scored(folder, "fashion_scenes", *change)


def named_or_scored(folder, name, column, value, kind, rows):
    file = f"{name}-0.parquet"
    table = pq.read_table(folder / f"whole {file}")
    rows = [row for row in rows if row < len(table)] or [0]
    values = table[column].to_pylist()
    if kind == "set":
        values = [value if k in rows else old for k, old in enumerate(values)]
        table = table.set_column(table.column_names.index(column), column, pa.array(values))
    elif kind == "repeat":
        table = pa.concat_tables([table, table.take(rows)])
    elif kind == "remove":
        table = table.filter(pa.array([k not in rows for k in range(len(table))]))
    elif kind == "none":
        table = table.slice(0, 0)
    else:
        table = pq.read_table(folder / f"whole {name}-1.parquet")
    pq.write_table(table, folder / file)
    reseal(folder / file)
    message = refusal(lambda: score(folder, name), ValueError)
    other = f"{name}-1.parquet" if kind == "foreign" else file  # which holds the same images
    assert message is None or other in message
    absurd = kind == "set" and value not in (0, 99) and (column, value) != ("t", 99)
    assert message is not None or not (absurd or kind in ("repeat", "foreign"))
    whole(folder, file)
