"""Numbers that callers pass, of Python, NumPy or PyTorch, as plain Python numbers. No torch."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Iterable
from typing import Any


def whole_number(name: str, value: Any) -> int:
    """Return a whole number as a Python int. Raises TypeError naming the option."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: {value!r} is not a whole number") from None


def whole_numbers(name: str, values: Any, example: str) -> tuple[int, ...]:
    """Return a list of whole numbers as Python ints. Raises TypeError naming the option, with an example."""
    if not isinstance(values, Iterable):
        raise TypeError(f"{name}: {values!r} is not a list of whole numbers, as in {name}={example}")
    return tuple(whole_number(name, value) for value in values)


def real_number(name: str, value: Any) -> float | int:
    """Return a number as a Python int or float: NumPy's float32(0.7) becomes 0.7, as it was written.

    Raises TypeError naming the option.
    """
    if hasattr(value, "numel"):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: {value!r} is not a number")
    if isinstance(value, numbers.Integral):
        return int(value)
    return value if isinstance(value, float) else float(str(value))
