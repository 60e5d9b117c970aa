"""The Fréchet distance between two sets of image features (FID when the features are the Inception's), and its bias.

The distance of n images is biased upwards by about c / n. `extrapolated` estimates the distance of infinitely many
images, and `of_perfect_generator` simulates n images of the reference's own distribution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import stats

from bigain.metrics.accuracy import CONFIDENCE, Estimate
from bigain.metrics.jackknife import BLOCKS, Jackknifed, T, jackknifed, standard_error

GROUPS = (2, 3, 4)  # numbers of groups of images of which each is left out in turn, to see the bias
MANY, FEW = 100, 10  # draws of perfect generators; few for more than 500 features, where the distance varies less


@dataclass(frozen=True)
class Reference:
    """Mean [D] and covariance [D, D] of the real images' features."""

    mu: np.ndarray
    sigma: np.ndarray

    @cached_property
    def root(self) -> np.ndarray:
        """Square root of the covariance."""
        values, vectors = np.linalg.eigh(self.sigma)
        return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T

    def distance(self, mu: np.ndarray, sigma: np.ndarray) -> float:
        """Return |mu1 - mu2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2).

        The last trace is the sum of the roots of the eigenvalues of S1^(1/2) S2 S1^(1/2), which is symmetric: real and
        stable where a matrix square root of the product is neither (fewer images than features).
        """
        cross = np.sqrt(np.linalg.eigvalsh(self.root @ sigma @ self.root).clip(min=0)).sum()
        distance = float(((self.mu - mu) ** 2).sum() + np.trace(self.sigma) + np.trace(sigma) - 2 * cross)
        return max(0.0, distance)  # equal statistics may give a rounding error below zero


def statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mu [D] and sigma [D, D] (unbiased) of features [N, D], float64, as pytorch-fid stores them."""
    features = np.asarray(features, dtype=np.float64)
    return features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False))


def frechet(reference: Reference, generated: np.ndarray) -> Jackknifed:
    """Return the distance of generated features [N, D] to the real images' statistics.

    The features are in the order of `by_stratum`. The interval is cut off at zero: a distance is not negative. Raises
    ValueError if there are fewer than two images per block.
    """
    if len(generated) < 2 * BLOCKS:
        raise ValueError(f"{len(generated)} generated images: the interval needs at least {2 * BLOCKS}")
    value = reference.distance(*statistics(generated))
    left_out = np.array([reference.distance(*part) for part in _without_each_block(generated, BLOCKS)])
    return jackknifed(value, left_out, len(generated), lowest=0)


def extrapolated(reference: Reference, generated: np.ndarray, distance: Jackknifed) -> Estimate:
    """Return the distance that infinitely many images would have: a line through 1/N = 0 (Chong and Forsyth, 2020).

    It is fitted to the distances of all N images, in the order of `by_stratum`, and of those without each half, third
    and quarter in turn, so that all images count alike. To first order an image has the same influence on it as on
    `distance`. The 95% interval adds, in squares, the half-width of `distance` and the change that a parabola would
    make, because the bias is a line only where there are many more images than features. May be negative. Raises
    ValueError for fewer than two images per feature.
    """
    n, dimensions = generated.shape
    if n < fewest_to_extrapolate(dimensions):
        raise ValueError(f"{n} generated images; at least {fewest_to_extrapolate(dimensions)} are needed")
    points = [(1 / n, distance.estimate.value)]
    for groups in GROUPS:
        left = n - np.array([len(generated[group::groups]) for group in range(groups)])
        parts = [reference.distance(*part) for part in _without_each_block(generated, groups)]
        points.append((float(np.mean(1 / left)), float(np.mean(parts))))
    inverse, values = np.array(points).T
    line, parabola = (float(np.polynomial.polynomial.polyfit(inverse, values, degree)[0]) for degree in (1, 2))
    pseudo_values = BLOCKS * distance.estimate.value - (BLOCKS - 1) * distance.left_out
    spread = float(np.hypot(T * standard_error(pseudo_values), line - parabola))
    return Estimate(line, line - spread, line + spread, n)


def fewest_to_extrapolate(dimensions: int) -> int:
    """Return the fewest images for `extrapolated`: as many in each half as there are features."""
    return 2 * dimensions


def of_perfect_generator(reference: Reference, n: int) -> Estimate:
    """Return the distance that n images of the reference's own distribution would have, and a range for 95% of them.

    It is simulated with independent normal features of the reference's covariance; equally many images of every
    class have less bias. The sampling error of the reference itself is not included.
    """
    rng = np.random.default_rng(0)
    shape = (n, len(reference.mu))
    count = MANY if len(reference.mu) <= 500 else FEW
    draws = [
        reference.distance(*statistics(reference.mu + rng.normal(size=shape) @ reference.root)) for _ in range(count)
    ]
    mean, spread = float(np.mean(draws)), float(np.std(draws, ddof=1)) * np.sqrt(1 + 1 / count)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * spread
    return Estimate(mean, max(0.0, mean - reach), mean + reach, n)


def _without_each_block(features: np.ndarray, blocks: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, for each of some blocks, the statistics of all other features, from sums: features are read once."""
    features = np.asarray(features, dtype=np.float64)
    centre = features.mean(axis=0)
    parts = [features[b::blocks] - centre for b in range(blocks)]
    products = [part.T @ part for part in parts]
    product = np.sum(products, axis=0)
    for part, part_product in zip(parts, products, strict=True):
        left = len(features) - len(part)
        offset = -part.sum(axis=0) / left  # mean of the rest; that of all is zero
        yield centre + offset, np.atleast_2d((product - part_product - left * np.outer(offset, offset)) / (left - 1))
