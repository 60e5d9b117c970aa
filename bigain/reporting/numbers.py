"""A number with its 95% interval, printed with its significant digits, and with ± only if the interval is symmetric."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bigain.core.rounding import rounded
from bigain.reporting import names

DIGITS = 2  # decimals of a number without an interval


@dataclass(frozen=True)
class Value:
    """A number of a table, None if its cell was not run, with its 95% interval.

    It is the mean over `seeds` seeds, `spread` their standard deviation (None for a single seed), and `printed` the
    paper's number. `best` says whether it is clearly the best of its column.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    best: bool = False
    printed: float | None = None
    spread: float | None = None
    seeds: int = 0

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def difference(self) -> float | None:
        """Our number minus the paper's."""
        return difference(self.value, self.printed)

    @property
    def digits(self) -> int:
        """The decimals to print."""
        return digits(self.half_width)

    @property
    def text(self) -> str:
        """The number without its interval, in print."""
        return names.MISSING if self.value is None else rounded(self.value, self.digits)


def difference(a: float | None, b: float | None) -> float | None:
    """Return a - b, or None if either is missing."""
    return None if a is None or b is None else a - b


def digits(half_width: float | None) -> int:
    """Return how many decimals to print: as many as give two significant digits of the interval's half-width.

    A half-width of 2.3 gives one decimal, 23 none. Without an interval, or with one of no width, there are two.
    """
    if half_width is None or not math.isfinite(half_width) or half_width <= 0:
        return DIGITS
    exponent = int(f"{half_width:.1e}".split("e")[1])  # after rounding: 9.96 has that of 10
    return max(0, 1 - exponent)


def fixed(value: float, decimals: int) -> str:
    """Format a number with these decimals; NaN becomes a dash."""
    return names.MISSING if math.isnan(value) else rounded(value, decimals)


def is_symmetric(value: float, low: float, high: float) -> bool:
    """Return whether a number lies in the middle of its interval, so that ± describes it."""
    return math.isclose(high - value, value - low, rel_tol=1e-6, abs_tol=1e-12)


def in_html(value: Value, signed: bool = False) -> str:
    """Return a number with its interval, `± 2.3` or `(79.4 to 89.2)`, and its deviation over seeds, in HTML."""
    if value.value is None:
        return names.MISSING
    number = rounded(value.value, value.digits, signed)
    text = f"<b>{number}</b>" if value.best else number
    if value.low is None or value.high is None:
        return text
    if is_symmetric(value.value, value.low, value.high):
        bounds = f"&plusmn; {rounded((value.high - value.low) / 2, value.digits)}"
    else:
        bounds = f"({rounded(value.low, value.digits, signed)} to {rounded(value.high, value.digits, signed)})"
    return f"{text} <small>{bounds}{_spread(value)}</small>"


def in_latex(value: Value, signed: bool = False, stacked: bool = False) -> str:
    """Return the same in LaTeX, with intervals such as [79.4, 89.2]; `stacked` puts the interval below the number."""
    if value.value is None:
        return "--"
    number = rounded(value.value, value.digits, signed)
    text = rf"\textbf{{{number}}}" if value.best else _signed(number)
    if value.low is None or value.high is None:
        return text
    if is_symmetric(value.value, value.low, value.high):
        bounds = rf"$\pm${rounded((value.high - value.low) / 2, value.digits)}"
    else:
        bounds = "[{}, {}]".format(*(_signed(rounded(end, value.digits, signed)) for end in (value.low, value.high)))
    bounds += _spread(value)
    return rf"\shortstack[r]{{{text}\\[-2pt]{{\tiny {bounds}}}}}" if stacked else rf"{text} {{\scriptsize {bounds}}}"


def _signed(number: str) -> str:
    """Set a number with a sign as mathematics, which gives it a minus instead of a hyphen."""
    return f"${number}$" if number[0] in "+-" else number


def _spread(value: Value) -> str:
    return "" if value.spread is None else f" sd {rounded(value.spread, value.digits)}"
