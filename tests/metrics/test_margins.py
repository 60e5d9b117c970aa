"""Margins: closed forms of certainty and response, and weights that are found where they help."""

import numpy as np
import pytest

from bigain.metrics.margins import certainty, held_out_weights, mean_r, responses


def test_certainty_and_r_ignore_differences_between_timesteps():
    """Noises 3 and 5 around means of 4: variance 2 at both timesteps, however far apart these are."""
    near, far = np.array([[[3.0, 5], [3, 5]]]), np.array([[[-7.0, -5], [13, 15]]])
    for margins in (near, far):
        assert mean_r(margins) == pytest.approx(np.sqrt(2) / 4)
        assert certainty(margins) == pytest.approx(4 / np.sqrt(18))
    assert certainty(-near) == pytest.approx(-4 / np.sqrt(18))
    assert mean_r(-near) == np.inf


def test_certainty_is_one_minus_cantellis_bound_and_finite_without_a_margin():
    margins = np.array([[[1.0, 3]], [[-1.0, 1]], [[0.0, 0]]])
    r = np.sqrt(2) / 2
    assert certainty(margins) == pytest.approx([np.sqrt(1 - r**2 / (1 + r**2)), 0, 0])


def test_responses_are_ratios_and_missing_without_a_margin():
    before = np.array([[2.0, 1], [4, -1], [3, 0.5], [3, -0.5], [3, 0]])
    value, low, high = responses(before, before * [0.5, 2], seed=0)
    assert (value[0], low[0], high[0]) == pytest.approx((0.5, 0.5, 0.5))
    assert np.isnan([value[1], low[1], high[1]]).all()
    assert np.isnan(responses(before[:4], before[:4], seed=0)).all()  # too few images for an interval


@pytest.mark.parametrize("images", [5, 12, 40])
def test_the_intervals_of_few_images_hold_the_true_response_as_often_as_those_of_many(images):
    """The true responses are 1, with independent noise before and after."""
    rng, shown, above, below = np.random.default_rng(0), 0, 0, 0
    for seed in range(40):
        base = 1 + rng.standard_normal((images, 8))
        before, after = (base + 0.3 * rng.standard_normal((images, 8)) for _ in range(2))
        _, low, high = responses(before, after, seed)
        shown, above, below = shown + np.isfinite(low).sum(), above + (low > 1).sum(), below + (high < 1).sum()
    assert shown > 120
    assert above / shown < 0.06  # with plain percentiles 0.065 at 5 images
    assert below / shown < 0.06  # 0.104


def test_weights_find_the_part_that_tells_classes_apart():
    """Part 0 has the margin, part 1 is noise of six times its deviation."""
    rng = np.random.default_rng(0)
    margins = rng.standard_normal((400, 2, 3, 2)) * [1, 6] + [2, 0]
    fitted = held_out_weights(margins, seed=0)
    assert fitted.weights.mean() == pytest.approx(1)
    assert fitted.weights[0] > 10 * fitted.weights[1]
    assert fitted.gain.low > 20


def test_weights_gain_nothing_where_uniform_ones_are_best():
    rng = np.random.default_rng(1)
    fitted = held_out_weights(rng.standard_normal((400, 2, 3, 4)) + 0.5, seed=0)
    assert fitted.gain.low < 0 < fitted.gain.high
    assert abs(fitted.gain.value) < 2
    assert fitted.weights == pytest.approx(np.ones(4), abs=0.35)


def test_margins_of_zero_are_no_hits_under_any_weights():
    fitted = held_out_weights(np.zeros((10, 2, 1, 3)), seed=0)
    assert fitted.gain.value == 0
    assert fitted.weights == pytest.approx(np.ones(3))
