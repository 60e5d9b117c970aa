"""Metrics against closed forms, pytorch-fid and sklearn."""

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_fid.fid_score import calculate_frechet_distance
from sklearn.metrics import average_precision_score

from bigain.core.files import sha256
from bigain.metrics import accuracy as acc
from bigain.metrics.accuracy import class_accuracy
from bigain.metrics.fidelity import kernel_distance, precision_recall
from bigain.metrics.frechet import Reference, _without_each_block, frechet, statistics
from bigain.metrics.jackknife import BLOCKS


def trials(rows):
    return pd.DataFrame(rows, columns=["image", "class", "t", "stage", "error"])


# Image 1: three classes in stage 0; 0 and 2 go on, and 2 wins although its stage-0 error was higher.
STAGED = trials(
    [
        (1, 0, 500, 0, 0.10),
        (1, 1, 500, 0, 0.30),
        (1, 2, 500, 0, 0.20),
        (1, 0, 100, 1, 0.90),
        (1, 2, 100, 1, 0.50),
    ]
)


def test_the_winner_is_the_lowest_mean_of_the_last_stage():
    assert acc.decisions(STAGED).to_dict() == {1: 2}


def test_a_pruned_class_cannot_win_by_its_low_early_error():
    # Class 1's mean over one easy timestep is below the survivors' means over two.
    assert acc.mean_errors(STAGED).loc[1].idxmin() == 1
    assert acc.decisions(STAGED)[1] == 2


def test_ties_go_to_the_lowest_class():
    assert acc.decisions(trials([(4, c, 500, 0, 0.25) for c in (3, 1, 2)]))[4] == 1


def test_rankings():
    assert acc.ranking(STAGED).loc[1].tolist() == [2, 0, 1]
    assert acc.released_ranking(STAGED).loc[1].tolist() == [2, 1, 0]


def test_average_precision_of_a_ranking_is_that_of_sklearn():
    rng = np.random.default_rng(0)
    order = pd.DataFrame([rng.permutation(10) for _ in range(20)])
    labels = {i: tuple(rng.choice(10, rng.integers(1, 5), replace=False)) for i in range(20)}
    ours = acc.image_average_precision(order, labels)
    for i in range(20):
        truth = np.isin(np.arange(10), labels[i])
        score = np.empty(10)
        score[order.loc[i]] = -np.arange(10)
        assert ours[i] == pytest.approx(average_precision_score(truth, score))


def test_an_image_without_labels_counts_as_zero():
    assert acc.image_average_precision(acc.ranking(STAGED), {1: ()}).tolist() == [0.0]
    assert acc.correct(acc.decisions(STAGED), {1: ()}).tolist() == [False]


def test_macro_average_precision_of_perfect_errors():
    labels = {i: (i % 3,) for i in range(30)}
    rows = [(i, c, 500, 0, 0.1 * i + (0.0 if c == i % 3 else 1.0)) for i in range(30) for c in range(3)]
    estimate = acc.macro_average_precision(trials(rows), labels, seed=0)
    assert (estimate.value, estimate.high) == pytest.approx((100, 100))
    assert estimate.low == pytest.approx(acc.accuracy(np.ones(30, dtype=bool)).low)


def test_wilson_interval():
    estimate = acc.accuracy(np.array([True] * 81 + [False] * 19))
    assert estimate.value == 81
    assert (estimate.low, estimate.high) == pytest.approx((72.22, 87.49), abs=0.01)


def test_frechet_closed_forms():
    """Equal covariances: the squared distance of the means. Diagonal Gaussians: sum of (s1 - s2)^2."""
    identity, zero, two = np.eye(3), np.zeros(3), np.full(3, 2.0)
    assert Reference(zero, identity).distance(two, identity) == pytest.approx(12)
    assert Reference(zero, np.diag([1.0, 4, 9])).distance(zero, np.diag([4.0, 4, 1])) == pytest.approx(1 + 0 + 4)


@pytest.mark.parametrize("seed", [0, 1])
def test_frechet_is_that_of_pytorch_fid(seed):
    rng = np.random.default_rng(seed)
    real, generated = rng.normal(size=(300, 24)), rng.normal(1, 2, size=(200, 24)) @ rng.normal(size=(24, 24))
    ours = Reference(*statistics(real)).distance(*statistics(generated))
    assert ours == pytest.approx(calculate_frechet_distance(*statistics(real), *statistics(generated)), rel=1e-6)


def test_frechet_of_fewer_images_than_features_with_themselves_is_zero():
    few = np.random.default_rng(0).normal(size=(40, 64))
    assert Reference(*statistics(few)).distance(*statistics(few)) == pytest.approx(0, abs=1e-4)


def test_the_frechet_interval_contains_the_value_and_shrinks():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(500, 8))
    small, large = (frechet(Reference(*statistics(real)), rng.normal(0.5, 1, size=(n, 8))).estimate for n in (60, 600))
    assert small.low < small.value < small.high
    assert large.high - large.low < small.high - small.low
    with pytest.raises(ValueError, match=str(2 * BLOCKS)):
        frechet(Reference(*statistics(real)), rng.normal(size=(2 * BLOCKS - 1, 8)))


def test_the_jackknife_statistics_without_a_block():
    features = np.random.default_rng(0).normal(3, 2, size=(205, 6))
    for block, (mu, sigma) in enumerate(_without_each_block(features, BLOCKS)):
        left = features[np.arange(205) % BLOCKS != block]
        assert np.allclose(mu, left.mean(0))
        assert np.allclose(sigma, np.cov(left, rowvar=False))


def test_kernel_distance_is_zero_for_equal_distributions_and_grows_with_a_shift():
    """For unit normals the expectation of the cubic kernel depends on the means alone."""
    rng = np.random.default_rng(0)
    real = rng.normal(size=(1500, 16)).astype(np.float32)
    same = kernel_distance(real, rng.normal(size=(1000, 16)).astype(np.float32)).estimate
    assert same.low < 0 < same.high
    shift = np.zeros(16, np.float32)
    shift[0] = 2.0
    moved = kernel_distance(real, rng.normal(size=(1500, 16)).astype(np.float32) + shift).estimate
    # E (1 + x.y / 16)^3 for x, y normal with means a, b: by the moments of s = x.y / 16, whose third is not zero.
    exact = _cubic(shift, shift) + _cubic(0 * shift, 0 * shift) - 2 * _cubic(0 * shift, shift)
    assert moved.low < 1000 * exact < moved.high
    with pytest.raises(ValueError, match="KID needs at least 1000 images: 1500 real, 999 generated"):
        kernel_distance(real, real[:999])


def _cubic(a, b):
    """E (1 + s)^3 of s = x.y / D for independent normals around a and b, from the moments of a sum of D products."""
    dimension = len(a)
    mean, second, third = a * b, (1 + a**2) * (1 + b**2), (a**3 + 3 * a) * (b**3 + 3 * b)
    variance, skew = second - mean**2, third - 3 * mean * second + 2 * mean**3
    m1, v, s = mean.sum() / dimension, variance.sum() / dimension**2, skew.sum() / dimension**3
    return 1 + 3 * m1 + 3 * (v + m1**2) + (s + 3 * m1 * v + m1**3)


def test_precision_and_recall():
    """Generated images cover one of two real clusters: all are realistic, and half of the real ones are missed."""
    rng = np.random.default_rng(0)
    real = np.concatenate([rng.normal(0, 1, (300, 4)), rng.normal(50, 1, (300, 4))]).astype(np.float32)
    shares = precision_recall(real, rng.normal(0, 1, (400, 4)).astype(np.float32))
    assert shares["precision"].value > 90
    assert shares["recall"].value == pytest.approx(50, abs=6)
    assert shares["recall"].low < shares["recall"].value < shares["recall"].high


def test_the_interval_of_one_image_is_everything():
    estimate = acc.mean_average_precision(np.array([0.5]), seed=0)
    assert (estimate.value, estimate.low, estimate.high, estimate.n) == (50, 0, 100, 1)


def test_class_accuracy_gives_every_class_the_same_weight():
    hits = np.array([True] * 90 + [False] * 10)
    estimate = class_accuracy(hits, [0] * 95 + [1] * 5)
    assert estimate.value == pytest.approx(100 * (90 / 95 + 0) / 2)
    assert estimate.low < estimate.value < estimate.high


def test_the_interval_of_right_classes_is_that_of_agresti_and_coull():
    """One class of 50 images, all right: (50 + 2) / (50 + 4), and its unbiased variance."""
    estimate = class_accuracy(np.ones(50), [0] * 50)
    share = 52 / 54
    assert estimate.value == estimate.high == 100
    assert estimate.low == pytest.approx(100 * (share - 1.96 * (share * (1 - share) / 53) ** 0.5))
    wrong = class_accuracy(np.zeros(50), [0] * 50)
    assert (wrong.low, wrong.high) == pytest.approx((0, 100 - estimate.low))


def test_ten_right_classes_are_as_certain_as_one_with_all_their_images():
    """500 right images, whatever their classes: between 99.0 and 100 (Wilson: 99.2)."""
    estimate = class_accuracy(np.ones(500), list(range(10)) * 50)
    assert (estimate.low, estimate.high) == (pytest.approx(99.05, abs=0.01), 100)


@pytest.mark.parametrize("images", [1, 2, 3, 10])
@pytest.mark.parametrize("shares", [[0.5] * 40, [0.95] * 40, [1.0, 0.6] * 20])
def test_the_interval_of_few_images_per_class_covers_the_mean(images, shares):
    """95% of 500 samples; plain binomial variances cover it in 0 to 94% of them."""
    rng, classes = np.random.default_rng(0), np.repeat(np.arange(40), images)
    samples = [class_accuracy(rng.random(40 * images) < np.repeat(shares, images), classes) for _ in range(500)]
    assert all(0 <= sample.low <= sample.value <= sample.high <= 100 for sample in samples)
    assert np.mean([sample.low <= 100 * np.mean(shares) <= sample.high for sample in samples]) > 0.93


def test_equal_precisions_have_the_interval_of_a_proportion():
    perfect = acc.mean_average_precision(np.ones(50), seed=0)
    proportion = acc.accuracy(np.ones(50, dtype=bool))
    assert (perfect.value, perfect.low, perfect.high) == pytest.approx(
        (proportion.value, proportion.low, proportion.high)
    )
    half = acc.mean_average_precision(np.full(50, 0.5), seed=0)
    assert (half.low, half.high) == pytest.approx((36.64, 63.36), abs=0.01)


def test_a_distance_has_no_negative_interval():
    """The interval of 40 images of the real distribution reached down to -0.06; its high end is as before."""
    rng = np.random.default_rng(0)
    estimate = frechet(Reference(*statistics(rng.normal(size=(500, 2)))), rng.normal(size=(40, 2))).estimate
    assert (estimate.low, estimate.value) == (0, pytest.approx(0.0535, abs=1e-4))
    assert estimate.high > 2 * estimate.value
    same = np.eye(3) / 3
    assert Reference(np.zeros(3), same).distance(np.zeros(3), same) >= 0


def test_inception_features_are_pytorch_fid_s(tmp_path):
    """The same weights give the same features, to the bit, in our network and in pytorch-fid's own."""
    from bigain.measure.features import load_network
    from tests.helpers.random_pipelines import inception_weights, pytorch_fid_network

    weights = inception_weights(tmp_path / "weights.pth")
    ours, theirs = load_network("inception", weights, sha256(weights)), pytorch_fid_network(weights)
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        features = ours(images)
        assert torch.equal(features, theirs(images.expand(-1, 3, -1, -1))[0].flatten(1))
    assert features.shape == (2, 2048)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth is missing"):
        load_network("inception", tmp_path / "nowhere.pth")
