"""Numbers that callers pass, of Python, NumPy or PyTorch, as plain Python numbers. No torch."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Iterable
from typing import Any


def whole_number(name: str, value: Any) -> int:
    """Return a whole number as a Python int. Raises TypeError naming the option, also for True and False."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise TypeError(f"{name}: {value!r} is not a whole number")


def whole_numbers(name: str, values: Any, example: str) -> tuple[int, ...]:
    """Return a list of whole numbers as Python ints. Raises TypeError naming the option, with an example."""
    if not isinstance(values, Iterable):
        raise TypeError(f"{name}: {values!r} is not a list of whole numbers, as in {name}={example}")
    return tuple(whole_number(name, value) for value in values)


def real_number(name: str, value: Any) -> float | int:
    """Return a number as a Python int or float: NumPy's float32(0.7) becomes 0.7, as it was written.

    Raises TypeError naming the option.
    """
    number = _number_in(value)
    if isinstance(number, bool) or not isinstance(number, numbers.Real):
        raise TypeError(f"{name}: {value!r} is not a number")
    if isinstance(number, numbers.Integral):
        return int(number)
    return float(number) if isinstance(number, float | numbers.Rational) else float(str(number))


def _number_in(value: Any) -> Any:
    """Return the only element of a tensor or of an array without axes, in NumPy's type; any other value unchanged."""
    if hasattr(value, "numel"):
        if value.numel() != 1:
            return value
        try:
            value = value.numpy(force=True).reshape(())
        except TypeError:  # bfloat16
            return value.item()
    return value[()] if getattr(value, "ndim", None) == 0 else value
