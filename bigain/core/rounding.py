"""Rounding for print: tables, pages, figures and the command line show the same digits of a number."""

from __future__ import annotations

import math
from decimal import Decimal

DIGITS = 10  # of floats in CSV files: what is printed is the rounding of what a CSV file says


def rounded(value: float, decimals: int, signed: bool = False) -> str:
    """Format a number with these decimals, half to even in its ten decimal digits, zero without a minus sign.

    100 * 0.7595, which is a little less than 75.95 in binary, is 75.95 in a CSV file and 76.0 in print.
    """
    form = f"{'+' if signed else ''}z.{decimals}f"
    return f"{Decimal(f'{value:.{DIGITS}g}'):{form}}" if math.isfinite(value) else f"{value:{form}}"
