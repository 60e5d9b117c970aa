"""Distances of generators with known answers: paired intervals, extrapolation, and the bias of few images."""

import numpy as np
import pytest
from scipy import stats

from bigain.metrics.fidelity import _discrepancies
from bigain.metrics.frechet import Reference, extrapolated, frechet, of_perfect_generator, statistics
from bigain.metrics.jackknife import BLOCKS, Blocks, T, by_stratum, over_seeds
from bigain.metrics.significance import paired_distances

DIMENSIONS = 8
STANDARD = Reference(np.zeros(DIMENSIONS), np.eye(DIMENSIONS))
IMAGES = {"n": 200, "seed": 0, "captions": "c", "reference": "r"}


def generators(rng, shift, n=200, correlation=0.9, offset=0.5):
    """Return features of two generators around offset + shift and offset, correlated image by image, of covariance 1.

    Their distances from `STANDARD` differ by those of the means, because they have the same bias.
    """
    theirs = rng.normal(size=(n, DIMENSIONS))
    ours = correlation * theirs + np.sqrt(1 - correlation**2) * rng.normal(size=(n, DIMENSIONS))
    return offset + shift + ours, offset + theirs


def blocks(features, **changes):
    distance = frechet(STANDARD, features)
    return Blocks(distance.estimate.value, distance.left_out, IMAGES | changes)


@pytest.mark.parametrize(("offset", "shift"), [(0.5, 0.0), (0.5, 0.05), (0.5, 0.3), (0.0, 0.3)])
def test_the_paired_interval_covers_the_true_difference_and_is_narrower(offset, shift):
    """95% of 200 samples, at less than 60% of the width of independent intervals.

    Less is gained if one of the generators is perfect, since then no image matters to first order.
    """
    rng, covered, narrower = np.random.default_rng(0), [], []
    for _ in range(200):
        ours, theirs = map(blocks, generators(rng, shift, offset=offset))
        difference = paired_distances(ours, theirs)
        true = DIMENSIONS * ((offset + shift) ** 2 - offset**2)
        covered.append(difference.low <= true <= difference.high)
        spreads = [T * np.std(cell.pseudo_values, ddof=1) / np.sqrt(BLOCKS) for cell in (ours, theirs)]
        narrower.append((difference.high - difference.low) / (2 * np.hypot(*spreads)))
        assert difference.value == pytest.approx(ours.value - theirs.value)
        assert (difference.low > 0 or difference.high < 0) == (difference.p < 0.05)
    assert 0.9 <= np.mean(covered) <= 0.99
    assert np.median(narrower) < (0.6 if offset else 1)


def test_p_is_that_of_swapping_the_images_of_pairs():
    """Under no difference, which generator made which image of a pair is arbitrary: 400 swaps, image by image."""
    rng, pairs = np.random.default_rng(0), []
    for shift in (0.0, 0.02, 0.04, 0.06):
        ours, theirs = generators(rng, shift)
        swapped = []
        for _ in range(400):
            swap = rng.random((len(ours), 1)) < 0.5
            parts = np.where(swap, theirs, ours), np.where(swap, ours, theirs)
            swapped.append(np.subtract(*(STANDARD.distance(*statistics(part)) for part in parts)))
        difference = paired_distances(blocks(ours), blocks(theirs))
        pairs.append((difference.p, np.mean(np.abs(swapped) >= abs(difference.value))))
    ours, theirs = np.array(pairs).T
    assert ours == pytest.approx(theirs, abs=0.12)
    assert ours.max() > 0.1 > 0.03 > ours.min()


def test_p_is_that_of_flipping_the_signs_of_blocks():
    rng = np.random.default_rng(3)
    ours, theirs = map(blocks, generators(rng, 0.03))
    pseudo_values = ours.pseudo_values - theirs.pseudo_values
    centred = pseudo_values - pseudo_values.mean() + (ours.value - theirs.value)
    flipped = (rng.choice([-1, 1], size=(20000, BLOCKS)) * centred).mean(axis=1)
    p = np.mean(np.abs(flipped) >= abs(centred.mean()))
    assert paired_distances(ours, theirs).p == pytest.approx(p, abs=0.03)


def test_seeds_are_averaged_block_by_block():
    rng = np.random.default_rng(0)
    cells = [list(map(blocks, generators(rng, 0.2))) for _ in range(4)]
    ours, theirs = (over_seeds([cell[side] for cell in cells]) for side in (0, 1))
    difference = paired_distances(ours, theirs)
    assert difference.n == 4 * 200
    assert difference.value == pytest.approx(np.mean([a.value - b.value for a, b in cells]))
    single = paired_distances(*cells[0])
    assert difference.high - difference.low < 0.7 * (single.high - single.low)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"n": 199}, "n is 200 and 199"), ({"seed": 1}, "seed is 0 and 1"), ({"captions": "d"}, "captions is c and d")],
)
def test_cells_of_other_images_are_not_compared(changes, message):
    features = np.random.default_rng(0).normal(size=(200, DIMENSIONS))
    with pytest.raises(ValueError, match=f"no common images: {message}"):
        paired_distances(blocks(features), blocks(features, **changes))


def test_differences_between_classes_are_no_sampling_error():
    """Ten classes take turns, as in the data sets here, and each generator shifts them alike or by class.

    95% of 100 samples are covered, at less than 40% of the widths that blocks of a class each give.
    """
    rng, classes, n = np.random.default_rng(0), 10, 200
    labels = np.arange(n) % classes
    means = rng.normal(size=(classes, DIMENSIONS))
    shifts = rng.normal(0.2, 0.2, size=(classes, DIMENSIONS))
    many = np.repeat(means, 2000, axis=0) + rng.normal(size=(2000 * classes, DIMENSIONS))
    reference, order = Reference(*statistics(many)), by_stratum([(label,) for label in labels])

    def block(features):
        distance = frechet(reference, features)
        return Blocks(distance.estimate.value, distance.left_out, IMAGES)

    samples = []
    for _ in range(100):
        theirs = means[labels] + rng.normal(size=(n, DIMENSIONS))
        ours = 0.7 * (theirs - means[labels]) + 0.71 * rng.normal(size=(n, DIMENSIONS)) + (means + shifts)[labels]
        differences = [paired_distances(block(ours[rows]), block(theirs[rows])) for rows in (order, np.arange(n))]
        samples.append([(d.value, d.low, d.high) for d in differences])
    value, low, high = np.moveaxis(np.array(samples), 2, 0)
    true = value[:, 0].mean()
    assert value[:, 0] == pytest.approx(value[:, 1])
    assert np.mean((low[:, 0] <= true) & (true <= high[:, 0])) >= 0.9
    assert np.median((high - low)[:, 0] / (high - low)[:, 1]) < 0.4


def test_the_distance_of_many_images_is_extrapolated_whatever_the_order_of_classes():
    """An even number of classes takes turns, so that halves and quarters of the images in their order lack some."""
    rng, n, classes = np.random.default_rng(1), 400, 10
    means = 3 * rng.normal(size=(classes, DIMENSIONS))
    labels = np.arange(n) % classes
    reference = Reference(*statistics(np.repeat(means, 2000, axis=0) + rng.normal(size=(2000 * classes, DIMENSIONS))))
    generated = means[labels] + rng.normal(size=(n, DIMENSIONS))
    in_strata = generated[by_stratum([(label,) for label in labels])]
    distance, shuffled = frechet(reference, in_strata), frechet(reference, generated)
    estimate = extrapolated(reference, in_strata, distance)
    assert abs(estimate.value) < distance.estimate.value < 1
    assert estimate.high - estimate.low < 1
    assert abs(extrapolated(reference, generated, shuffled).value) > 5  # what it would be without strata


@pytest.mark.parametrize("n", [128, 500])
def test_the_extrapolated_distance_covers_that_of_infinitely_many_images(n):
    """Of 64 features, shifted by 0.05 and 7% wider: the distance of 128 images is ten times as large."""
    rng, dimensions, covered, biased = np.random.default_rng(0), 64, [], []
    reference = Reference(np.zeros(dimensions), np.eye(dimensions))
    true = dimensions * (0.05**2 + 0.07**2)
    for _ in range(40):
        generated = rng.normal(0.05, 1.07, size=(n, dimensions))
        distance = frechet(reference, generated)
        estimate = extrapolated(reference, generated, distance)
        covered.append(estimate.low <= true <= estimate.high)
        biased.append(distance.estimate.value)
    assert np.mean(covered) >= 0.9
    assert np.mean(biased) > 10 * true if n == 128 else 3 * true
    with pytest.raises(ValueError, match="127 generated images; at least 128 are needed"):
        extrapolated(reference, generated[:127], distance)


def test_a_perfect_generator_of_few_images_scores_above_zero():
    """Of independent features the mean contributes D / n, and the covariance about D (D + 1) / (4 n)."""
    expected = of_perfect_generator(STANDARD, 400)
    assert expected.value == pytest.approx(DIMENSIONS / 400 + DIMENSIONS * (DIMENSIONS + 1) / (4 * 400), rel=0.15)
    rng = np.random.default_rng(1)
    scores = [STANDARD.distance(*statistics(rng.normal(size=(400, DIMENSIONS)))) for _ in range(100)]
    assert np.mean([expected.low <= score <= expected.high for score in scores]) > 0.85
    assert of_perfect_generator(STANDARD, 40).value > 5 * expected.value


def test_discrepancies_without_a_block_are_those_of_the_other_images():
    rng = np.random.default_rng(0)
    real, generated = rng.normal(size=(50, 5)), rng.normal(0.2, 1, size=(47, 5))

    def plain(rows):
        inner, outer = (rows @ rows.T / 5 + 1) ** 3, (rows @ real.T / 5 + 1) ** 3
        return (inner.sum() - np.trace(inner)) / (len(rows) * (len(rows) - 1)) - 2 * outer.mean()

    every, left_out = _discrepancies(real, generated)
    assert every == pytest.approx(plain(generated))
    assert left_out == pytest.approx([plain(generated[np.arange(47) % BLOCKS != b]) for b in range(BLOCKS)])


def test_the_interval_of_a_kernel_distance_covers_it_at_a_thousand_images():
    """Against the same real images: 95% of samples."""
    rng = np.random.default_rng(0)
    real = rng.normal(size=(500, 4))
    kernel = lambda rows: float((((rows @ real.T) / 4 + 1) ** 3).mean())  # noqa: E731
    many = rng.normal(0.3, 1, size=(40000, 4))
    true = _pairs_mean(many) - 2 * kernel(many[:20000])
    covered = []
    for _ in range(40):
        every, left_out = _discrepancies(real, rng.normal(0.3, 1, size=(1000, 4)))
        spread = T * np.sqrt((BLOCKS - 1) / BLOCKS * ((left_out - left_out.mean()) ** 2).sum())
        covered.append(abs(every - true) <= spread)
    assert 0.88 <= np.mean(covered) <= 1


def _pairs_mean(rows):
    """Return the kernel's mean over pairs of independent rows, by pairing distant ones."""
    half = len(rows) // 2
    return float(np.mean([(((rows[:half] * np.roll(rows[half:], k, axis=0)).sum(1) / 4 + 1) ** 3) for k in range(50)]))


def test_a_difference_of_kernel_distances_is_paired_too():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(500, DIMENSIONS))
    cells = [Blocks(*_discrepancies(real, features), IMAGES) for features in generators(rng, 0.1)]
    difference = paired_distances(*cells)
    widths = [2 * T * stats.sem(cell.pseudo_values) for cell in cells]
    assert difference.high - difference.low < 0.7 * np.hypot(*widths)
