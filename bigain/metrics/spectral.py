"""Theorem 1 on measured bands: margins mu_k, deviations sigma_k, responses H_P(k), and whether the tail bound improves.

Every array of paired differences is [n, T, K]: Delta_k of n images at T draws of (t, eps) in K bands, whose sum over k
is D. An image has its own mean and variance over draws; mu_k and sigma_k^2 are their means over images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bigain.metrics.bootstrap import interval, weights_of_images


@dataclass(frozen=True)
class Moments:
    """mu_k [K], sigma_k^2 [K], and sigma^2 of D itself, which includes the covariances between bands."""

    mu_k: np.ndarray
    variance_k: np.ndarray
    variance: float

    @property
    def mu(self) -> float:
        """mu = sum of mu_k: all w_k are 1."""
        return float(self.mu_k.sum())

    @property
    def r(self) -> float:
        """r = sigma / mu, which the Cantelli bound increases with; infinite without a margin."""
        return float(np.sqrt(self.variance) / self.mu) if self.mu > 0 else float("inf")


@dataclass(frozen=True)
class Response:
    """Effect of a method on the bands, relative to the uncompressed model. Intervals are bootstraps over images.

    `response` is H_P(k), NaN where the uncompressed margin mu_k is not clearly above zero; `ratio` is r' / r with its
    interval. `margin_lost` is Delta mu / mu; `variance_shaved` is Delta sigma^2 / sigma^2 as measured,
    `variance_modelled` the theorem's sum of (1 - H^2) sigma_k^2 over the sum of sigma_k^2. `predicts` says whether the
    theorem's criterion calls the method an improvement.
    """

    before: Moments
    after: Moments
    response: np.ndarray
    response_low: np.ndarray
    response_high: np.ndarray
    margin_lost: float
    variance_shaved: float
    variance_modelled: float
    predicts: bool
    ratio: float
    ratio_low: float
    ratio_high: float


def moments(differences: np.ndarray) -> Moments:
    """Return the moments of paired differences [n, T, K], T at least 2."""
    mu_k, variance_k, variance = _image_moments(differences)
    return Moments(mu_k.mean(axis=0), variance_k.mean(axis=0), float(variance.mean()))


def respond(before: np.ndarray, after: np.ndarray, seed: int) -> Response:
    """Return a method's response from the differences [n, T, K] before and after it, on the same images and draws.

    Raises ValueError if the shapes differ.
    """
    if before.shape != after.shape:
        raise ValueError(f"differences before {before.shape} and after {after.shape} are not of the same draws")
    full, compressed = moments(before), moments(after)
    weights = weights_of_images(len(before), seed)  # all methods of a seed share the resamples
    margins, r = _resampled(before, weights)
    margins_after, r_after = _resampled(after, weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        responses, ratios = margins_after / margins, r_after / r
        response = compressed.mu_k / full.mu_k
    clear = interval(margins, len(before))[0] > 0
    low, high = interval(responses, len(before))
    ratio_low, ratio_high = interval(ratios, len(before))
    modelled = float(((1 - response**2) * full.variance_k).sum())
    return Response(
        before=full,
        after=compressed,
        response=np.where(clear, response, np.nan),
        response_low=np.where(clear, low, np.nan),
        response_high=np.where(clear, high, np.nan),
        margin_lost=(full.mu - compressed.mu) / full.mu,
        variance_shaved=(full.variance - compressed.variance) / full.variance,
        variance_modelled=modelled / float(full.variance_k.sum()),
        predicts=improves(float(full.variance_k.sum()), full.mu, modelled, full.mu - compressed.mu),
        ratio=compressed.r / full.r,
        ratio_low=float(ratio_low),
        ratio_high=float(ratio_high),
    )


def improves(variance: float, mu: float, variance_change: float, mu_change: float) -> bool:
    """Return whether the bound of Theorem 1 improves.

    It does iff Delta sigma^2 > 2 (sigma^2 / mu) Delta mu - (sigma^2 / mu^2) (Delta mu)^2. Changes are before
    minus after. For positive margins the criterion is r' < r; it does not cover a margin that is lost or reversed, for
    which the bound does not improve.
    """
    if mu <= 0 or mu - mu_change <= 0:
        return False
    return variance_change > 2 * variance / mu * mu_change - variance / mu**2 * mu_change**2


def outside(low: np.ndarray, high: np.ndarray) -> list[str]:
    """Return where the interval of every response lies if it has no number from 0 to 1: `above 1` or `below 0`."""
    return ["above 1" if a > 1 else "below 0" if b < 0 else "" for a, b in zip(low, high, strict=True)]


def _image_moments(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return every image's mu_k [n, K], sigma_k^2 [n, K] and sigma^2 of D [n]."""
    total = differences.sum(axis=2)
    return differences.mean(axis=1), differences.var(axis=1, ddof=1), total.var(axis=1, ddof=1)


def _resampled(differences: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mu_k [R, K] and r [R] of R resamples of images, whose weights are [R, n]."""
    mu_k, _, variance = _image_moments(differences)
    margins = weights @ mu_k
    mu = margins.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return margins, np.where(mu > 0, np.sqrt(weights @ variance) / mu, np.inf)
