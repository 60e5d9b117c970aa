"""Check the options of `apply` and convert them to plain Python values."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast, get_args

from bigain.core.messages import unknown
from bigain.core.plain_numbers import real_number, whole_number
from bigain.methods.method import STRENGTHS, Linear, Method, StrengthKind, Task
from bigain.methods.options import MetricSite, Options
from bigain.methods.places import NAMED
from bigain.methods.schedules import Constant, Varying, checked_window

STRENGTH_KINDS: dict[str, StrengthKind] = {  # by the option that takes it
    "ratio": "merge_ratio",
    "threshold": "threshold",
    "factor": "downsample_factor",
}
CHOICES: dict[str, tuple[str, ...]] = {"task": get_args(Task), "metric_site": get_args(MetricSite)}


def checked(options: Options) -> Options:
    """Return the options as plain Python values, without those that are None.

    Raises TypeError for an unknown option and for one of another type; ValueError for a name that does not exist.
    """
    for name in options:
        if name not in Options.__optional_keys__:
            raise TypeError("apply: " + unknown("option", name, sorted(Options.__optional_keys__)))
    return cast(Options, {name: _read(name, value) for name, value in options.items() if value is not None})


def check_options(method: Method, options: Options) -> Path | str | None:
    """Return the calibration of a structural method. Raises ValueError for options that the method does not take."""
    calibration = options.get("calibration")
    if method.acts_on == "model":
        if calibration is None:
            raise ValueError(f"{method.id} needs calibration=FILE: `bigain calibrate` and the study make one")
        if {*STRENGTH_KINDS, "timesteps", "levels", "blocks", "grid"} & set(options):
            raise ValueError(
                f"{method.id} takes no strength, timesteps, levels, blocks or grid: its calibration says all of it"
            )
        return calibration
    if calibration is not None:
        raise ValueError(f"{method.id} takes no calibration")
    if method.needs_guidance and options.get("task") == "classification":
        raise ValueError(
            f"{method.id} chooses tokens by the guidance of the step before, which the independent noise predictions "
            "of a classifier do not have: it can only generate"
        )
    for name, strength in options.items():
        if name in STRENGTH_KINDS and method.strength_kind != STRENGTH_KINDS[name]:
            raise ValueError(f"{method.id} takes {STRENGTHS[method.strength_kind]}, not {name}={strength!r}")
    return None


def strength_of(method: Method, options: Options) -> Constant | Varying | None:
    """Return the strength in its kind's type; one that varies with t stays unchanged, and is checked on the grids.

    Raises ValueError if it is missing, or if the method does not take it.
    """
    strength: Any = None
    for name, kind in STRENGTH_KINDS.items():
        if kind == method.strength_kind:
            strength = options.get(name)
            if strength is None:
                raise ValueError(f"{method.id} needs `{name}`: {STRENGTHS[kind]}")
    return method.check_strength(strength) if isinstance(strength, int | float | None) else strength


def _read(name: str, value: Any) -> Any:
    if name in CHOICES:
        if value not in CHOICES[name]:
            raise ValueError(f"{name}: " + unknown("value", str(value), CHOICES[name]))
    elif name in STRENGTH_KINDS:
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
