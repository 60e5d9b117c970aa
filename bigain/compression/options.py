"""Check the options of `apply` and convert them to plain Python values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast, get_args

from bigain.core.messages import unknown
from bigain.core.plain_numbers import real_number, whole_number
from bigain.methods.method import Linear, Task
from bigain.methods.options import MetricSite, Options
from bigain.methods.places import NAMED
from bigain.methods.schedules import checked_window

CHOICES: dict[str, tuple[str, ...]] = {"task": get_args(Task), "metric_site": get_args(MetricSite)}


def checked(options: Options) -> Options:
    """Return the options as plain Python values, without those that are None.

    Raises TypeError for an unknown option and for one of another type; ValueError for a name that does not exist.
    """
    for name in options:
        if name not in Options.__optional_keys__:
            raise TypeError("apply: " + unknown("option", name, sorted(Options.__optional_keys__)))
    return cast(Options, {name: _read(name, value) for name, value in options.items() if value is not None})


def _read(name: str, value: Any) -> Any:
    if name in CHOICES:
        if value not in CHOICES[name]:
            raise ValueError(f"{name}: " + unknown("value", str(value), CHOICES[name]))
    elif name in ("ratio", "threshold", "factor"):
        if isinstance(value, Linear):
            return Linear(real_number(name, value.start), real_number(name, value.end))
        return value if callable(value) else real_number(name, value)
    elif name == "timesteps":
        window = tuple(real_number(name, bound) for bound in value) if isinstance(value, Iterable) else ()
        if len(window) != 2:
            raise TypeError(f"timesteps: {value!r} is not a pair (first, last), as in (900, 200)")
        return checked_window(*window)
    elif name == "seed":
        return whole_number(name, value)
    elif name == "blocks" and isinstance(value, str):
        if value not in NAMED:
            raise ValueError("blocks: " + unknown("part", value, NAMED) + " Or block numbers.")
    elif name == "grid":
        return _grid(value)
    elif name in ("levels", "blocks"):
        places = value if isinstance(value, Iterable) else (value,)
        return tuple(whole_number(name, place) for place in places)
    return value


def _grid(value: Any) -> tuple[int, int]:
    sides = tuple(whole_number("grid", side) for side in value) if isinstance(value, Iterable) else ()
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"grid: {value!r} is not a height and a width in tokens, as in grid=(64, 64)")
    return sides[0], sides[1]
