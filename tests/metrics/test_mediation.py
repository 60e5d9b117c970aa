"""What a mediator explains: found in simulated worlds where it is the cause, not found where it is not."""

import numpy as np
import pytest

from bigain.metrics import mediation
from bigain.metrics.mediation import mediate

IMAGES = 800


def hits_of(rng, strength):
    return (rng.random(len(strength)) < 1 / (1 + np.exp(-4 * strength))).astype(float)


def world(name, seed, images=IMAGES, noise=0.3):
    """Hits of two methods, and the change of a mediator measured twice; the second method's mediator is lower.

    cause: hits depend on the mediator alone. shrunk: so they do, and it shrinks most in the images that stay right.
    else: they depend on something else, whose change is as large and independent of it. none: hits do not change.
    """
    rng = np.random.default_rng(seed)
    easy = rng.normal(0.5, 1, images)  # drives the mediator and the hits of both methods in every world
    loss, other = rng.normal(0.5, 0.5, (2, images))
    if name == "shrunk":
        loss = 0.8 * easy
    harm = {"cause": loss, "shrunk": loss, "else": other, "none": 0 * loss}[name]
    ours, theirs = hits_of(rng, easy), hits_of(rng, easy - harm)
    repeats = tuple(loss + rng.normal(0, noise, images) for _ in range(2))
    return ours - theirs, sum(repeats) / 2, repeats


@pytest.mark.parametrize("name", ["cause", "shrunk"])
def test_a_cause_explains_the_whole_difference(name):
    explained = mediate(*world(name, seed=1), seed=0)
    assert explained.total.p < 0.001
    assert explained.mediates
    assert explained.low < explained.total.value < explained.high
    assert explained.share == pytest.approx(1, abs=0.35)
    assert explained.share_low < 1 < explained.share_high


def test_errors_of_measurement_do_not_hide_a_cause(monkeypatch):
    monkeypatch.setattr(mediation, "RESAMPLES", 100)
    shares = [mediate(*world("cause", seed, noise=0.7), seed=0).share for seed in range(8)]
    reliability = mediate(*world("cause", 0, noise=0.7), seed=0).reliability
    assert reliability == pytest.approx(0.25 / (0.25 + 0.7**2 / 2), abs=0.1)
    assert np.mean(shares) == pytest.approx(1, abs=0.2)


def test_what_is_no_cause_explains_nothing_though_it_changes_with_the_method():
    explained = mediate(*world("else", seed=2), seed=0)
    assert explained.total.p < 0.001
    assert not explained.mediates
    assert explained.low < 0 < explained.high < explained.total.value
    assert explained.share_low < 0 < explained.share_high < 1


def test_no_cause_is_found_more_often_than_the_level_says(monkeypatch):
    monkeypatch.setattr(mediation, "RESAMPLES", 200)
    worlds = [mediate(*world("else", seed), seed=0) for seed in range(60)]
    assert all(explained.total.p < 0.05 for explained in worlds)
    assert sum(explained.mediates for explained in worlds) <= 6  # at 2.5% above 0, 7 or more have probability 0.1%
    assert np.mean([explained.share for explained in worlds]) == pytest.approx(0, abs=0.1)


def test_without_a_difference_there_is_nothing_to_share():
    explained = mediate(*world("none", seed=3), seed=0)
    assert explained.total.p > 0.05
    assert np.isnan([explained.share, explained.share_low, explained.share_high]).all()
    assert not explained.mediates


def test_a_mediator_that_does_not_change_explains_nothing():
    hits, still = world("cause", seed=1)[0], np.zeros(IMAGES)
    explained = mediate(hits, still, (still, still), seed=0)
    assert (explained.value, explained.low, explained.high, explained.reliability) == (0, 0, 0, 0)


def test_a_change_that_is_all_noise_explains_nothing_though_its_mean_is_not_zero(monkeypatch):
    """Both measurements have the same mean, and nothing in common beyond it."""
    monkeypatch.setattr(mediation, "RESAMPLES", 100)
    rng = np.random.default_rng(0)
    worlds = []
    for seed in range(20):
        repeats = tuple(1 + rng.standard_normal(IMAGES) for _ in range(2))
        worlds.append(mediate(world("cause", seed)[0], sum(repeats) / 2, repeats, seed=0))
    assert all(each.total.p < 0.05 for each in worlds)
    assert np.median([each.value / each.total.value for each in worlds]) == pytest.approx(0, abs=0.1)
    unmeasured = [each for each in worlds if each.reliability < mediation.LEAST_RELIABILITY]
    assert len(unmeasured) > 10
    assert np.isnan([each.share for each in unmeasured]).all()
    assert not any(each.mediates for each in unmeasured)


def test_methods_that_are_always_right_about_the_same_images_differ_in_nothing():
    change = np.random.default_rng(0).standard_normal(50)
    explained = mediate(np.zeros(50), change, (change, change), seed=0)
    assert (explained.value, explained.discordant, explained.reliability) == (0, 0, pytest.approx(1))


def test_too_few_images_are_an_error():
    with pytest.raises(ValueError, match="3 images are too few"):
        mediate(*world("cause", 0, images=3), seed=0)
