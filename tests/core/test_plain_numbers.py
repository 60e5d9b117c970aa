"""Numbers of Python, NumPy and PyTorch become plain ones, as they were written; nothing else is a number."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from bigain.core.plain_numbers import real_number, whole_number

SEVEN_TENTHS = [
    *(0.7, Fraction(7, 10), np.float64(0.7), np.float32(0.7), np.float16(0.7), np.array(0.7, dtype=np.float32)),
    *(torch.tensor(0.7), torch.tensor([0.7]), torch.tensor(0.7, dtype=torch.float64, requires_grad=True)),
]
TWO = [2, np.int64(2), np.uint8(2), np.array(2), torch.tensor(2), torch.tensor(2, dtype=torch.int8)]
NO_NUMBERS = [
    *(True, np.True_, torch.tensor(True), np.array(False), None, "0.5", Decimal("0.5"), 1j),
    *(np.array([0.5]), np.array([0.5, 0.5]), torch.tensor([0.5, 0.5]), torch.tensor([])),
]


@pytest.mark.parametrize("value", SEVEN_TENTHS, ids=repr)
def test_a_fraction_is_the_float_that_was_written(value):
    assert (real_number("ratio", value), type(real_number("ratio", value))) == (0.7, float)


@pytest.mark.parametrize("value", TWO, ids=repr)
def test_an_integer_stays_one(value):
    assert [(number, type(number)) for number in (real_number("a", value), whole_number("a", value))] == [(2, int)] * 2


def test_bfloat16_has_few_digits():
    assert real_number("ratio", torch.tensor(0.7, dtype=torch.bfloat16)) == 0.69921875


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_nothing_else_is_a_number(value):
    with pytest.raises(TypeError, match=r"ratio: .* is not a number"):
        real_number("ratio", value)


@pytest.mark.parametrize("value", [True, np.True_, None, 2.0, "2"], ids=repr)
def test_nothing_else_is_a_whole_number(value):
    with pytest.raises(TypeError, match=r"seed: .* is not a whole number"):
        whole_number("seed", value)
