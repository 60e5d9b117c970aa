"""Exact binomial certificates, against known figures and by simulation."""

import numpy as np
import pytest

from bigain.metrics.certification import fixed_sequence, tail, upper_bound


@pytest.mark.parametrize(("events", "images", "bound"), [(5, 500, 0.0209), (0, 250, 1 - 0.05 ** (1 / 250)), (3, 3, 1)])
def test_known_bounds_at_95_percent(events, images, bound):
    assert upper_bound(events, images, 0.05) == pytest.approx(bound, abs=5e-5)


def test_the_bound_is_the_rate_whose_tail_is_delta():
    assert tail(5, 500, upper_bound(5, 500, 0.05)) == pytest.approx(0.05)
    assert tail(5, 500, 0.021) < 0.05 < tail(5, 500, 0.0208)
    assert upper_bound(0, 0, 0.05) == tail(0, 0, 0.5) == 1


def test_testing_stops_at_the_first_hypothesis_that_is_not_rejected():
    assert fixed_sequence([0.01, 0.05, 0.2, 0.001], 0.05) == 2
    assert fixed_sequence([0.2, 0.001], 0.05) == 0
    assert fixed_sequence([], 0.05) == 0


def test_a_rate_that_is_too_high_is_certified_no_more_often_than_delta():
    """Twelve settings whose rates rise past the limit of 5% between the fourth and the fifth, 4,000 times."""
    rng, rates = np.random.default_rng(0), np.linspace(0.02, 0.15, 12) - 0.01
    draws = rng.random((4000, 200, 1))  # the same images decide all settings
    counts = (draws < rates).sum(axis=1)
    too_high = int((rates <= 0.05).sum())
    certified = [fixed_sequence((tail(int(count), 200, 0.05) for count in row), 0.05) for row in counts]
    assert 0.001 < np.mean(np.array(certified) > too_high) <= 0.05
    assert np.mean(np.array(certified) > 0) > 0.5
