"""Margins of images to their hardest wrong class: r of every image, and the gain of weights that are not uniform.

A margin is the error of the wrong class minus that of the true one, at one timestep and noise. sigma^2 is its variance
between noises of the same image and timestep, so that differences between timesteps do not count as noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from bigain.metrics.bootstrap import interval, weights_of_images
from bigain.metrics.significance import Difference, paired


def moments_of_images(margins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mu and sigma^2 of every image: margins [n, T, J] of J noises, at least 2 -> [n], [n]."""
    return margins.mean(axis=(1, 2)), margins.var(axis=2, ddof=1).mean(axis=1)


def certainty(margins: np.ndarray) -> np.ndarray:
    """Return mu / sqrt(mu^2 + sigma^2) of every image: margins [n, T, J] -> [n], from -1 to 1.

    It is 1 / sqrt(1 + r^2) with the sign of mu: it falls with r = sigma / mu, and stays finite where mu vanishes. Its
    square is 1 minus the Cantelli bound of Theorem 1, r^2 / (1 + r^2). It is 0 where mu and sigma are.
    """
    mu, variance = moments_of_images(margins)
    length = np.sqrt(mu**2 + variance)
    return np.divide(mu, length, out=np.zeros_like(mu), where=length > 0)


def mean_r(margins: np.ndarray) -> float:
    """Return r = sigma / mu with both averaged over images: margins [n, T, J]; infinite without a margin."""
    mu, variance = (float(moment.mean()) for moment in moments_of_images(margins))
    return float(np.sqrt(variance)) / mu if mu > 0 else float("inf")


def responses(before: np.ndarray, after: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return H_P(k) with its 95% bootstrap interval over images: mu_k of every image before and after, [n, K] -> [K].

    All are NaN where mu_k is not clearly above zero before.
    """
    weights = weights_of_images(len(before), seed)
    resampled = weights @ before
    clear = interval(resampled, len(before))[0] > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        value = after.mean(axis=0) / before.mean(axis=0)
        low, high = interval(weights @ after / resampled, len(before))
    value, low, high = (np.where(clear, numbers, np.nan) for numbers in (value, low, high))
    return value, low, high


@dataclass(frozen=True)
class HeldOutWeights:
    """Weights [F] fitted to images, mean 1, and the accuracy that they gain on images they were not fitted to."""

    weights: np.ndarray
    gain: Difference


def held_out_weights(margins: np.ndarray, seed: int) -> HeldOutWeights:
    """Fit weights of the error's parts on one half of the images, and compare them with uniform ones on the other.

    `margins` [n, J, W, F] are those to W wrong classes under J noises, in F parts: bands or timesteps. An image is
    right if the weighted sums of all its margins are positive. Each half is judged by the weights of the other.
    """
    images, parts = len(margins), margins.shape[-1]
    first = np.random.default_rng(seed).permutation(images) < images // 2
    weights, gains = np.zeros(parts), np.zeros(images)
    for fitted, judged in ((first, ~first), (~first, first)):
        of_half = _fit(margins[fitted].reshape(-1, *margins.shape[2:]))
        weights += of_half / of_half.mean() / 2
        gains[judged] = _hits(margins[judged] @ of_half) - _hits(margins[judged].sum(axis=-1))
    return HeldOutWeights(weights, paired(gains))


def _hits(margins: np.ndarray) -> np.ndarray:
    """Return the share of noises under which an image is right: margins [n, J, W] -> [n]."""
    return (margins > 0).all(axis=2).mean(axis=1)


def _fit(margins: np.ndarray) -> np.ndarray:
    """Fit weights of at least 0 by the likelihood of the true class in a softmax over errors: margins [m, W, F] -> [F].

    The weights have a normal prior, whose mean is the best uniform weight and whose deviation equals it.
    """
    scaled = margins / np.sqrt((margins.sum(axis=-1) ** 2).mean() or 1.0)
    parts = scaled.shape[-1]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = np.concatenate([np.zeros((len(scaled), 1)), -scaled @ weights], axis=1)
        gradient = -np.einsum("mw,mwf->f", special.softmax(logits, axis=1)[:, 1:], scaled)
        return float(special.logsumexp(logits, axis=1).sum()), gradient

    uniform = optimize.minimize_scalar(lambda t: loss(np.full(parts, np.exp(t)))[0], bounds=(-5, 7), method="bounded")
    prior = float(np.exp(uniform.x))

    def penalised(relative: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = loss(prior * relative)
        return value + ((relative - 1) ** 2).sum() / 2, prior * gradient + relative - 1

    fitted = optimize.minimize(penalised, np.ones(parts), jac=True, method="L-BFGS-B", bounds=[(0, None)] * parts)
    return fitted.x
