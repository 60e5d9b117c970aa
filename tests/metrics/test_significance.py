"""Paired differences: closed forms, exact bounds, coverage by simulation, and one method for interval and p."""

import math

import numpy as np
import pytest
from scipy import stats

from bigain.metrics.bounded_mean import ACCURACY, BoundedMean
from bigain.metrics.power import detectable_difference, images_needed
from bigain.metrics.significance import Student, benjamini_hochberg, holm, is_positive, paired
from bigain.reporting.evidence import SUPPORTED, weigh


def differences(**counts):
    """Return differences by their counts: 20 wins, 8 losses, ... of 100 images."""
    values = {"wins": 1.0, "losses": -1.0, "ties": 0.0, "thirds": 1 / 3}
    return np.concatenate([np.full(count, values[name]) for name, count in counts.items()])


def sign_flip(values):
    """Return the two-sided mid-p of an exact sign-flip test of the mean of multiples of 1/3."""
    steps = np.rint(3 * np.abs(values)).astype(int)
    pmf = np.ones(1)
    for step in steps[steps > 0]:
        flipped = np.zeros(2 * step + 1)
        flipped[[0, -1]] = 0.5
        pmf = np.convolve(pmf, flipped)
    sums = np.arange(len(pmf)) - len(pmf) // 2
    total = abs(round(3 * values.sum()))
    return min(1.0, 2 * (pmf[sums > total].sum() + pmf[sums == total].sum() / 2))


@pytest.mark.parametrize(("discordance", "points"), [(0.05, [4.4, 2.8, 2.0, 1.4]), (0.29, [10.6, 6.7, 4.8, 3.4])])
def test_the_smallest_detectable_differences_of_connor_s_formula(discordance, points):
    sizes = [200, 500, 1000, 2000]
    assert [round(100 * detectable_difference(discordance, n), 1) for n in sizes] == points
    for n in sizes:
        assert images_needed(discordance, detectable_difference(discordance, n)) in (n, n + 1)


def test_a_difference_comes_with_at_least_as_many_discordant_images():
    """Without discordance, 200 images show 200 x 3.9% = 8 wins on average; 3 images show nothing."""
    assert detectable_difference(0, 200) == pytest.approx(0.0388, abs=1e-4)
    assert detectable_difference(0, 3) == math.inf
    assert images_needed(0, 0.05) == images_needed(0.05, 0.05)
    with pytest.raises(ValueError, match=r"discordance is 1\.5; 0 to 1"):
        detectable_difference(1.5, 200)
    with pytest.raises(ValueError, match="difference is 0; above 0"):
        images_needed(0.1, 0)


def test_the_detectable_difference_is_shown_with_80_percent_power():
    rng, n, discordance = np.random.default_rng(0), 200, 0.15
    difference = detectable_difference(discordance, n)
    shares = [(discordance - difference) / 2, 1 - discordance, (discordance + difference) / 2]
    samples = rng.multinomial(n, shares, size=1000).astype(float)
    shown = [BoundedMean(counts, counts[2] - counts[0], 1.0).tails(0)[0] < 0.025 for counts in samples]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.04)


def test_images_without_a_discordant_one_leave_exact_bounds():
    """Half the probability of no discordant image in 5 is 2.5% at a difference of 1 - .05^(1/5) = 45 points."""
    tied = paired(np.zeros(5))
    assert (tied.value, tied.p) == pytest.approx((0, 1))
    assert (tied.low, tied.high) == pytest.approx((-45.07, 45.07), abs=0.01)
    alike = paired(np.full(5, 0.3))
    assert alike.low < 0 < 30 < alike.high
    won = paired(np.ones(5))
    assert (won.value, won.high, won.p) == (100, 100, pytest.approx(1 / 32))
    assert won.low == pytest.approx(100 * (2 * 0.05 ** (1 / 5) - 1), abs=0.01)


def test_without_a_difference_hits_are_tested_as_by_mcnemar():
    """The most likely distribution splits the discordant images evenly: the sum of n draws, enumerated."""
    ours = paired(differences(wins=6, losses=1, ties=13))
    wins, losses = np.mgrid[:21, :21]
    count = stats.multinomial(20, [7 / 40, 7 / 40, 26 / 40])
    pmf = count.pmf(np.stack([wins, losses, 20 - wins - losses], axis=-1))
    assert ours.p == pytest.approx(2 * (pmf[wins - losses > 5].sum() + pmf[wins - losses == 5].sum() / 2))
    mcnemar = 2 * (stats.binom.sf(6, 7, 0.5) + stats.binom.pmf(6, 7, 0.5) / 2)
    assert ours.p == pytest.approx(mcnemar, abs=0.02)


def test_four_discordant_images_in_200_decide_nothing():
    assert paired(differences(wins=4, ties=196)).p > 0.05
    assert paired(differences(wins=5, ties=195)).p < 0.05


def test_the_mean_decides_and_not_the_number_of_signs():
    """Twenty images gain a third, eight lose 1: more gain than lose, and the mean falls."""
    mixed = paired(differences(thirds=20, losses=8, ties=72))
    assert mixed.value == pytest.approx(-4 / 3)
    assert mixed.p_above(0) > 0.5 > mixed.p_below(0)
    assert mixed.p == pytest.approx(sign_flip(differences(thirds=20, losses=8)), abs=0.05)


@pytest.mark.parametrize("counts", [(20, 10, 70), (15, 40, 45), (60, 30, 110), (9, 2, 189)])
def test_p_is_nearly_that_of_a_sign_flip_test(counts):
    values = differences(thirds=counts[0], wins=counts[1] // 2, losses=counts[1] - counts[1] // 2, ties=counts[2])
    assert paired(values).p == pytest.approx(sign_flip(values), abs=0.06)


def test_the_interval_excludes_zero_exactly_when_p_is_below_the_level():
    """And one-sided p-values at its ends are 2.5%: for hits, means of three seeds and average precisions."""
    rng = np.random.default_rng(0)
    for seeds, shift in [(1, 0.0), (1, 0.06), (3, 0.03), (None, 0.02), (None, -0.03)] * 4:
        noise = rng.uniform(-0.5, 0.5, 60) if seeds is None else rng.integers(-seeds, seeds + 1, 60) / seeds
        values = np.where(rng.random(60) < 0.3, noise, 0) + shift * (seeds is None)
        values[: round(60 * shift) if seeds else 0] = 1
        difference = paired(values)
        assert difference.low < difference.value < difference.high
        assert (difference.low > 0 or difference.high < 0) == (difference.p < 0.05)
        assert difference.p_above(difference.low) == pytest.approx(0.025, abs=1e-4)
        assert difference.p_below(difference.high) == pytest.approx(0.025, abs=1e-4)
        assert difference.p == pytest.approx(2 * min(difference.p_above(0), difference.p_below(0)))


def test_a_larger_true_difference_makes_a_larger_observed_one_likelier():
    rng = np.random.default_rng(0)
    for n in (2, 3, 6, 20, 60):
        for values in (rng.integers(-1, 2, n), rng.integers(-3, 4, n) / 3, rng.uniform(-0.2, 0.6, n), np.full(n, 0.25)):
            difference = paired(values.astype(float))
            above = [difference.p_above(bound) for bound in np.linspace(-100, 100, 41)]
            assert (np.diff(above) >= -1e-9).all()
            assert difference.p_below(20) == pytest.approx(1 - difference.p_above(20))


def test_many_spread_values_have_the_interval_of_a_t_test():
    values = np.random.default_rng(0).normal(0.02, 0.15, 800).clip(-1, 1)
    difference = paired(values)
    plain = stats.ttest_1samp(values, 0)
    assert difference.p == pytest.approx(plain.pvalue, rel=0.1)
    interval = plain.confidence_interval()
    assert (difference.low, difference.high) == pytest.approx((100 * interval.low, 100 * interval.high), abs=0.02)


@pytest.mark.parametrize("seeds", [1, 3, None])
@pytest.mark.parametrize("n", [30, 100, 200])
@pytest.mark.parametrize(("discordance", "lead"), [(0.05, 0.5), (0.1, 0.0), (0.3, 0.0), (0.3, 0.8)])
def test_the_interval_covers_the_true_difference(seeds, n, discordance, lead):
    """95% of 600 samples, more where hardly an image is discordant; of `seeds`, each shows a difference with 70%.

    Without a number of seeds, differences are continuous. Without a true difference, 1 - coverage is the level.
    """
    rng = np.random.default_rng(0)
    signs = rng.choice([-1, 0, 1], (600, n), p=np.array([1 - lead, 2 / discordance - 2, 1 + lead]) * discordance / 2)
    if seeds is None:
        size = rng.uniform(0, 0.6, signs.shape)
    else:
        size = 1.0 if seeds == 1 else rng.binomial(seeds, 0.7, signs.shape) / seeds
    truth = discordance * lead * {1: 1.0, 3: 0.7, None: 0.3}[seeds]
    tails = [min(BoundedMean.of(sample, 1.0).tails(truth)) for sample in signs * size]
    covered = np.mean(np.array(tails) >= 0.025)
    assert 0.93 < covered <= (0.99 if n * discordance > 5 else 1)


def test_tails_are_those_of_the_whole_distribution():
    """Far sums are cut off before the transform; the binomial's tail is exact to the stated accuracy."""
    wins = BoundedMean.of(differences(wins=40, ties=1960), 1.0)
    assert wins.tails(0.01)[0] == pytest.approx(
        stats.binom.sf(40, 2000, 0.01) + stats.binom.pmf(40, 2000, 0.01) / 2, abs=1e-3
    )
    assert wins.most_likely(0.01)[0] > 0  # a loss that was not observed makes a smaller mean more likely
    assert wins.most_likely(0.03).sum() == pytest.approx(1)
    assert wins.most_likely(0.03) @ [-1, 0, 1] == pytest.approx(0.03)
    assert wins.tails(-0.5)[0] == pytest.approx(ACCURACY, rel=1e-3)


def test_bad_differences_are_named():
    with pytest.raises(ValueError, match="1 common images; a test needs at least 2"):
        paired(np.ones(1))
    with pytest.raises(ValueError, match="a paired difference is not in"):
        paired(np.array([0.5, 1.5]))
    with pytest.raises(ValueError, match="a paired difference is not in"):
        paired(np.array([0.5, np.nan]))
    assert paired(np.array([0.5, 1.5] * 20), bound=2).value == 100


def test_an_estimate_with_a_standard_error_is_tested_by_student_s_t():
    difference = Student(3.0, 1.0, 19).difference(100)
    assert difference.p == pytest.approx(2 * stats.t.sf(3, 19))
    assert difference.high - difference.value == pytest.approx(stats.t.ppf(0.975, 19))
    assert difference.p_above(difference.low) == pytest.approx(0.025)
    assert difference.detectable == pytest.approx(stats.t.ppf(0.975, 19) + stats.t.ppf(0.8, 19))
    assert Student(0.0, 0.0, 19).difference(100).p == 1


def test_holm_correction():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert holm([]) == []


def test_q_values_are_those_of_scipy():
    p_values = [0.001, 0.2, 0.03, 0.04, 0.9]
    assert benjamini_hochberg(p_values) == pytest.approx(stats.false_discovery_control(p_values))
    assert benjamini_hochberg([]) == []


def test_a_difference_is_positive_exactly_if_its_interval_is():
    outcomes = set()
    for wins in range(0, 30, 2):
        values = differences(wins=wins, losses=4, ties=60)
        outcomes.add(is_positive(values))
        assert is_positive(values) == (paired(values).low > 0)
    assert outcomes == {True, False}


def test_no_true_mean_beyond_the_bounds_is_possible_even_if_all_values_are_at_one():
    """So a claim with one infinite bound is supported if every image supports it."""
    lost = paired(np.full(50, -1.0))
    assert (lost.p_above(-math.inf), lost.p_below(math.inf)) == (0, 0)
    assert lost.p_above(-100) == 0.5  # the observed mean itself
    assert weigh("fails", lost, 10).verdict == SUPPORTED
    assert weigh("better", paired(np.full(50, 1.0)), 1).verdict == SUPPORTED
