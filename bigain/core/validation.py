"""Validating readers of files from other jobs or programs. No torch.

Contents have the expected types and shapes and are finite; if not, a ValueError names the file and the column, tensor
or key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors import SafetensorError, safe_open

from bigain.core.files import naming
from bigain.core.records import read_table

LARGEST = 1 << 53  # number in a config or report: up to here every integer is also a float
LARGEST_FEATURE = 1e30  # its square does not overflow
LONGEST_MESSAGE = 300  # characters of a schema's message

# The columns of a classification job's file.
TRIALS = {"image": "integer", "class": "integer", "t": "integer", "stage": "integer", "error": "number"}


def _is_number(_: Any, value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_integer(_: Any, value: Any) -> bool:
    return isinstance(value, int) and _is_number(_, value)


# JSON Schema, except that 5.0 is not an integer, and infinities and NaN are not numbers.
Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": _is_number}
    ),
)


def _is_bytes(data_type: pa.DataType) -> bool:
    return pa.types.is_binary(data_type) or pa.types.is_large_binary(data_type)


def _is_integers(data_type: pa.DataType) -> bool:
    is_list = pa.types.is_list(data_type) or pa.types.is_large_list(data_type)
    return is_list and pa.types.is_integer(data_type.value_type)


TYPES: dict[str, Callable[[pa.DataType], bool]] = {
    "integer": pa.types.is_integer,
    "number": pa.types.is_floating,
    "bytes": _is_bytes,
    "list of integers": _is_integers,
}


def read_columns(path: Path | str, columns: Mapping[str, str]) -> pa.Table:
    """Read the named columns of a parquet file, each of its type (a key of TYPES), without nulls, numbers finite.

    Raises ValueError naming the file, the column and what is wrong with it.
    """
    table = read_table(path)
    for name, expected in columns.items():
        if table.column_names.count(name) != 1:
            raise ValueError(f"{path}: column {name!r} is needed once; it has {', '.join(table.column_names)}")
        column = table[name]
        if not TYPES[expected](column.type):
            raise ValueError(f"{path}: column {name!r} is {column.type}, and has to be {expected}")
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path}: column {name!r} is damaged ({error})") from error
        values = pc.list_flatten(column) if expected == "list of integers" else column
        if column.null_count or values.null_count:
            raise ValueError(f"{path}: column {name!r} has nulls")
        if expected == "number" and not pc.all(pc.is_finite(column), min_count=0).as_py():
            raise ValueError(f"{path}: column {name!r} holds a number that is not finite")
    return table.select(list(columns))


def read_features(path: Path | str, with_statistics: bool = False) -> dict[str, np.ndarray]:
    """Read `features` [N, D] from a safetensors file and, `with_statistics`, their `mu` [D] and `sigma` [D, D].

    Raises ValueError naming the file, the tensor and what is wrong with it.
    """
    tensors = {}
    try:
        with safe_open(path, "np") as stored:
            dtypes = {name: stored.get_slice(name).get_dtype() for name in stored.keys()}  # noqa: SIM118
            for name in ("features", "mu", "sigma") if with_statistics else ("features",):
                if dtypes.get(name) not in ("F32", "F64"):
                    raise ValueError(f"{path}: {name} is needed in F32 or F64; it has {dtypes}")
                tensors[name] = stored.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is missing or not a whole safetensors file: {error}") from error
    features = tensors["features"]
    if features.ndim != 2 or features.shape[1] == 0 or (with_statistics and len(features) < 2):
        raise ValueError(f"{path}: features have shape {list(features.shape)}; [images, dimensions] is needed")
    dimensions = features.shape[1]
    for name, shape in {"mu": (dimensions,), "sigma": (dimensions, dimensions)}.items():
        if name in tensors and tensors[name].shape != shape:
            raise ValueError(f"{path}: {name} has shape {list(tensors[name].shape)}; its features need {list(shape)}")
    for name, values in tensors.items():
        if not (np.abs(values) <= LARGEST_FEATURE).all():
            raise ValueError(f"{path}: {name} holds a number that is not finite, or above {LARGEST_FEATURE:g}")
    if with_statistics and not np.allclose(tensors["sigma"], tensors["sigma"].T):
        raise ValueError(f"{path}: sigma is not symmetric")
    return tensors


def validate(path: Path | str, content: Any, properties: Mapping[str, Any]) -> None:
    """Raise ValueError naming the file and key unless the content is a mapping with all of these keys, each valid."""
    with naming(path):
        json.dumps(content, ensure_ascii=False).encode()  # JSON can spell half a character, which is not text
    schema = {"type": "object", "required": list(properties), "properties": properties}
    violation = next(Validator(schema).iter_errors(content), None)
    if violation is not None:
        where = ".".join(map(str, violation.absolute_path))
        raise ValueError(f"{path}: {where or 'its content'}: {violation.message:.{LONGEST_MESSAGE}}")
