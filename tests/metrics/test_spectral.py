"""Theorem 1 on synthetic bands whose moments are known."""

import numpy as np
import pytest

from bigain.metrics.spectral import improves, moments, respond


def bands(means, deviations, images=40, draws=200, seed=0):
    """Return independent bands with exactly these means and standard deviations in every image."""
    values = np.random.default_rng(seed).standard_normal((images, draws, len(means)))
    values -= values.mean(axis=1, keepdims=True)
    values /= values.std(axis=1, ddof=1, keepdims=True)
    return values * np.array(deviations) + np.array(means)


def test_moments_are_means_over_images_of_their_own_moments():
    far_apart = bands([3, 1], [2, 1]) + np.arange(40)[:, None, None]  # differences between images are not variance of D
    measured = moments(far_apart)
    assert measured.mu_k == pytest.approx([3 + 19.5, 1 + 19.5])
    assert measured.variance_k == pytest.approx([4, 1])
    assert measured.variance == pytest.approx(5, rel=0.05)  # independent bands
    assert moments(bands([-1, -1], [1, 1])).r == float("inf")


def test_covariance_between_bands_is_in_the_variance_of_d():
    band = bands([1], [1])
    measured = moments(np.concatenate([band, band], axis=2))
    assert measured.variance == pytest.approx(4)  # the same band twice: (1 + 1)^2
    assert measured.variance_k.sum() == pytest.approx(2)


def test_a_response_is_the_factor_of_its_band():
    before = bands([4, 2, 0.0], [2, 3, 1])
    response = respond(before, before * np.array([0.9, 0.5, 0.8]), seed=0)
    assert response.response[:2] == pytest.approx([0.9, 0.5])
    assert np.isnan(response.response[2])  # no margin, no response
    assert response.margin_lost == pytest.approx((6 - 4.6) / 6)
    assert response.variance_shaved == pytest.approx(1 - (3.24 + 2.25 + 0.64) / 14, abs=0.02)
    assert response.ratio_low <= response.ratio <= response.ratio_high


def test_reducing_the_noisy_band_improves_the_bound_and_reducing_the_margin_does_not():
    before = bands([5, 0.5], [1, 4])
    good = respond(before, before * np.array([1, 0.3]), seed=0)
    bad = respond(before, before * np.array([0.3, 1]), seed=0)
    assert good.predicts
    assert good.ratio_high < 1
    assert not bad.predicts
    assert bad.ratio_low > 1


def test_the_variance_term_is_the_theorems():
    """With H = 1/2 everywhere, 1 - H^2 keeps r as it is; (1 - H)^2 would call it worse."""
    before = bands([1, 2], [1, 1])
    response = respond(before, before / 2, seed=0)
    assert response.variance_modelled == pytest.approx(0.75)
    assert response.ratio == pytest.approx(1)


def test_the_criterion_holds_if_and_only_if_r_falls():
    rng = np.random.default_rng(0)
    for _ in range(500):
        variance, mu = rng.uniform(0.1, 5, 2)
        variance_after, mu_after = rng.uniform(0.1, 5, 2)
        falls = np.sqrt(variance_after) / mu_after < np.sqrt(variance) / mu
        assert improves(variance, mu, variance - variance_after, mu - mu_after) == falls
    assert not improves(1, 1, 0.9, 1.5)  # the margin changes sign
    assert not improves(1, -1, 0.9, 0)


def test_differences_of_other_draws_are_refused():
    with pytest.raises(ValueError, match="not of the same draws"):
        respond(bands([1], [1]), bands([1], [1], draws=100), seed=0)
