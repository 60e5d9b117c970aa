"""Readers of what other jobs, or other programs, have stored: of the expected shape and finite, or a message that names
the file and the column, tensor or key. No torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors import SafetensorError, safe_open

from bigain.core.files import read_json
from bigain.core.records import read_table

LARGEST = 1 << 53  # of a number in a config or report: up to here every whole number is a float, too
LARGEST_FEATURE = 1e30  # far from where its square would overflow
LONGEST_MESSAGE = 300  # of what a schema says of one value

# The columns of a classification job's file.
TRIALS = {"image": "integer", "class": "integer", "t": "integer", "stage": "integer", "error": "number"}


def _is_number(_: Any, value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_integer(_: Any, value: Any) -> bool:
    return isinstance(value, int) and _is_number(_, value)


# As JSON Schema has it, but 5.0 is no whole number, and nothing that is not finite is a number.
Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": _is_number}
    ),
)


@contextmanager
def naming(file: Path | str) -> Iterator[None]:
    """What a parser says of a broken file becomes a ValueError that names the file, where it does not yet."""
    try:
        yield
    except (LookupError, RecursionError, TypeError, ValueError) as error:
        if isinstance(error, ValueError) and str(file) in str(error):
            raise
        raise ValueError(f"{file} is damaged ({type(error).__name__}: {error})") from error


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_integers(kind: pa.DataType) -> bool:
    return (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and pa.types.is_integer(kind.value_type)


KINDS: dict[str, Callable[[pa.DataType], bool]] = {
    "integer": pa.types.is_integer,
    "number": pa.types.is_floating,
    "bytes": _is_bytes,
    "list of integers": _is_integers,
}


def read_columns(path: Path | str, columns: Mapping[str, str]) -> pa.Table:
    """The named columns of a parquet file, each of its kind (a key of KINDS), without gaps, numbers finite.

    Raises ValueError naming the file, the column and what is wrong with it.
    """
    table = read_table(path)
    for name, kind in columns.items():
        if table.column_names.count(name) != 1:
            raise ValueError(f"{path}: one column {name!r} is needed; it has {', '.join(table.column_names)}")
        column = table[name]
        if not KINDS[kind](column.type):
            raise ValueError(f"{path}: column {name!r} is {column.type}, and has to be {kind}")
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path}: column {name!r} is damaged ({error})") from error
        values = pc.list_flatten(column) if kind == "list of integers" else column
        if column.null_count or values.null_count:
            raise ValueError(f"{path}: column {name!r} has gaps")
        if kind == "number" and not pc.all(pc.is_finite(column), min_count=0).as_py():
            raise ValueError(f"{path}: column {name!r} holds a number that is not finite")
    return table.select(list(columns))


def read_features(path: Path | str, with_statistics: bool = False) -> dict[str, np.ndarray]:
    """`features` [N, D] of a safetensors file and, of real images, their `mu` [D] and `sigma` [D, D].

    Raises ValueError naming the file, the tensor and what is wrong with it.
    """
    found = {}
    try:
        with safe_open(path, "np") as stored:
            kinds = {name: stored.get_slice(name).get_dtype() for name in stored.keys()}  # noqa: SIM118
            for name in ("features", "mu", "sigma") if with_statistics else ("features",):
                if kinds.get(name) not in ("F32", "F64"):
                    raise ValueError(f"{path}: {name} is needed, in F32 or F64; it has {kinds}")
                found[name] = stored.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is missing or not a whole safetensors file: {error}") from error
    features = found["features"]
    if features.ndim != 2 or features.shape[1] == 0 or (with_statistics and len(features) < 2):
        raise ValueError(f"{path}: features are {list(features.shape)}; images x numbers are needed")
    dimensions = features.shape[1]
    for name, shape in {"mu": (dimensions,), "sigma": (dimensions, dimensions)}.items():
        if name in found and found[name].shape != shape:
            raise ValueError(f"{path}: {name} is {list(found[name].shape)}, and its features need {list(shape)}")
    for name, values in found.items():
        if not (np.abs(values) <= LARGEST_FEATURE).all():
            raise ValueError(f"{path}: {name} holds a number that is not finite, or above {LARGEST_FEATURE:g}")
    if with_statistics and not np.allclose(found["sigma"], found["sigma"].T):
        raise ValueError(f"{path}: sigma is not symmetric")
    return found


def read_report(path: Path | str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON file that holds a mapping with all of these keys, each as its schema says.

    Raises ValueError naming the file, the key and what is wrong with it.
    """
    try:
        content = read_json(path)
    except OSError as error:
        raise ValueError(f"{path} is missing: {error}") from error
    with naming(path):
        json.dumps(content, ensure_ascii=False).encode()  # half a character, which JSON can spell, is no text
    schema = {"type": "object", "required": list(properties), "properties": properties}
    wrong = next(Validator(schema).iter_errors(content), None)
    if wrong is not None:
        where = ".".join(map(str, wrong.absolute_path))
        raise ValueError(f"{path}: {where or 'its content'}: {wrong.message:.{LONGEST_MESSAGE}}")
    return content
