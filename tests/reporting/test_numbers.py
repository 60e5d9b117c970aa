"""How numbers are printed: digits, ± and asymmetric intervals."""

from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import pytest

from bigain.core.columns import csv_text
from bigain.core.rounding import rounded
from bigain.metrics.accuracy import accuracy
from bigain.reporting.numbers import Value, digits, fixed, in_html, in_latex


@pytest.mark.parametrize(
    ("half_width", "decimals"),
    [(23, 0), (2.3, 1), (0.23, 2), (230, 0), (9.94, 1), (9.96, 0), (None, 2), (0, 2), (float("inf"), 2)],
)
def test_a_number_has_as_many_digits_as_its_interval_carries(half_width, decimals):
    assert digits(half_width) == decimals


def test_a_symmetric_interval_is_printed_with_plus_minus_and_others_from_low_to_high():
    assert in_html(Value(49.4, 26.5, 72.3)) == "49 <small>&plusmn; 23</small>"
    assert in_html(Value(85.0, 79.4, 89.2)) == "85.0 <small>(79.4 to 89.2)</small>"
    assert in_latex(Value(49.4, 26.5, 72.3)) == r"49 {\scriptsize $\pm$23}"
    assert in_latex(Value(85.0, 79.4, 89.2), stacked=True) == r"\shortstack[r]{85.0\\[-2pt]{\tiny [79.4, 89.2]}}"


@pytest.mark.parametrize("hits", range(0, 201, 20))
def test_a_wilson_interval_is_never_printed_with_plus_minus_except_around_one_half(hits):
    estimate = accuracy(np.arange(200) < hits)
    printed = in_html(Value(estimate.value, estimate.low, estimate.high))
    assert ("&plusmn;" in printed) == (hits == 100)


def test_differences_have_signs_and_mathematical_minuses():
    lead = Value(-3.0, -8.2, 1.1)
    assert in_html(lead, signed=True) == "-3.0 <small>(-8.2 to +1.1)</small>"
    assert in_latex(lead, signed=True) == r"$-3.0$ {\scriptsize [$-8.2$, $+1.1$]}"
    assert rounded(-0.04, 1) == "0.0"


def test_numbers_without_interval_missing_best_and_over_seeds():
    assert (in_html(Value(1 / 3)), in_latex(Value(1 / 3))) == ("0.33", "0.33")
    assert (in_html(Value(None)), in_latex(Value(None))) == ("–", "--")
    value = Value(70, 65, 75, best=True, spread=1.41)
    assert in_html(value) == "<b>70.0</b> <small>&plusmn; 5.0 sd 1.4</small>"
    assert in_latex(value) == r"\textbf{70.0} {\scriptsize $\pm$5.0 sd 1.4}"


@pytest.mark.parametrize("percent", [100 * 0.7595, 75.95, 0.45, 48.75, 48.85, 75.94813526, -0.04, 2 / 3, 1e6 / 3])
def test_what_is_printed_is_the_rounding_of_what_the_csv_file_says(percent):
    row = csv_text("table", [{"value": percent}]).splitlines()[1]
    (stored,) = (cell for cell in row.split(",") if cell)
    nearest = Decimal(stored).quantize(Decimal("0.1"), ROUND_HALF_EVEN)
    assert rounded(percent, 1) == str(nearest + 0).replace("-0.0", "0.0")


def test_infinite_numbers_and_missing_ones_are_printed():
    assert (rounded(float("inf"), 1), fixed(float("nan"), 1)) == ("inf", "–")
