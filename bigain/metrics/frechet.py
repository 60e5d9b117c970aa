"""The Fréchet distance between two sets of image features (FID when the features are the Inception's)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bigain.metrics.accuracy import Estimate

BLOCKS = 20  # of the jackknife


def statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mu [D] and sigma [D, D] (unbiased) of features [N, D], float64, as pytorch-fid stores them."""
    features = np.asarray(features, dtype=np.float64)
    return features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False))


def frechet_distance(mu1: np.ndarray, sigma1: np.ndarray, mu2: np.ndarray, sigma2: np.ndarray) -> float:
    """|mu1 - mu2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2).

    The last trace is the sum of the roots of the eigenvalues of S1^(1/2) S2 S1^(1/2), which is symmetric: real and
    stable where a matrix square root of the product is neither (fewer images than features).
    """
    return _distance(mu1, sigma1, _root(sigma1), mu2, sigma2)


def frechet(mu: np.ndarray, sigma: np.ndarray, generated: np.ndarray) -> Estimate:
    """Return the distance of generated features [N, D] to the real images' statistics.

    The 95% interval is a delete-a-block jackknife over the generated images, cut off at zero: a distance is not
    negative. Raises ValueError if there are fewer than two images per block.
    """
    if len(generated) < 2 * BLOCKS:
        raise ValueError(f"{len(generated)} generated images: the interval needs at least {2 * BLOCKS}")
    root = _root(sigma)
    value = _distance(mu, sigma, root, *statistics(generated))
    left_out = np.array([_distance(mu, sigma, root, *part) for part in _without_each_block(generated)])
    spread = 1.96 * np.sqrt((BLOCKS - 1) / BLOCKS * np.sum((left_out - np.mean(left_out)) ** 2))
    return Estimate(value, max(0.0, value - spread), value + spread, len(generated))


def _root(sigma: np.ndarray) -> np.ndarray:
    """Return the square root of a symmetric positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(sigma)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def _distance(mu1: np.ndarray, sigma1: np.ndarray, root: np.ndarray, mu2: np.ndarray, sigma2: np.ndarray) -> float:
    cross = np.sqrt(np.linalg.eigvalsh(root @ sigma2 @ root).clip(min=0)).sum()
    distance = float(((mu1 - mu2) ** 2).sum() + np.trace(sigma1) + np.trace(sigma2) - 2 * cross)
    return max(0.0, distance)  # equal statistics may give a rounding error below zero


def _without_each_block(features: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, for each block, the statistics of all other features, from sums: features are read once."""
    features = np.asarray(features, dtype=np.float64)
    centre = features.mean(axis=0)
    blocks = [features[b::BLOCKS] - centre for b in range(BLOCKS)]
    products = [block.T @ block for block in blocks]
    product = np.sum(products, axis=0)
    for block, block_product in zip(blocks, products, strict=True):
        left = len(features) - len(block)
        offset = -block.sum(axis=0) / left  # mean of the rest; that of all is zero
        yield centre + offset, np.atleast_2d((product - block_product - left * np.outer(offset, offset)) / (left - 1))
