"""Mediation within images: how much of a difference in accuracy a measured change of every image explains.

Two methods classify the same images. Which of the two is right about an image on which they differ follows, by
hypothesis, from the change of a mediator: P(ours is right | one of them is) = logistic(a + b change). This is the
conditional logistic regression of matched pairs, McNemar's test with a covariate: the image's difficulty drops out.
With a = 0, it gives the difference that the mediator alone would make. It is fitted on one half of the images and
judged on the other, and the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bigain.metrics.bootstrap import RESAMPLES
from bigain.metrics.power import LEVEL
from bigain.metrics.significance import Difference, paired

STEPS = 20  # of Newton's method
LEAST_RELIABILITY = 0.1  # of a mediator's changes, for a share to be given: below, it would be a share of noise
PRIOR = 10.0  # deviation of the normal prior of a, and of b per deviation of the mediator: nearly none


@dataclass(frozen=True)
class Explained:
    """The part of a difference that a mediator explains, in percentage points, with its 95% interval over images.

    `reliability` is the fraction of the variance of the measured change between images that is not noise. `share` is
    that part over the difference; it and its interval are NaN where the difference is not significant, or the
    reliability is below LEAST_RELIABILITY.
    """

    total: Difference
    value: float
    low: float
    high: float
    share: float
    share_low: float
    share_high: float
    reliability: float
    discordant: int

    @property
    def mediates(self) -> bool:
        """True if there is a share, and the interval of the explained part lies on the difference's side of 0."""
        sign = np.sign(self.total.value)
        return not np.isnan(self.share) and min(sign * self.low, sign * self.high) > 0


def mediate(hits: np.ndarray, mediator: np.ndarray, repeats: tuple[np.ndarray, np.ndarray], seed: int) -> Explained:
    """Return the part of a paired difference in accuracy that a mediator explains on held-out images.

    All arrays [n] are differences between two methods image by image: `hits` of the hits, from -1 to 1, `mediator` of
    the mediator, and `repeats` of two measurements of it with independent errors; the mean of the two is as precise as
    `mediator`. They correct the bias toward 0 that errors of measurement cause: the less reliable the changes are, the
    further they are shrunk to their mean. Raises ValueError for fewer than 4 images.
    """
    images = len(hits)
    if images < 4:
        raise ValueError(f"{images} images are too few to fit a mediator on one half and judge it on the other")
    rng = np.random.default_rng(seed)
    first = rng.permutation(images) < images // 2
    counts = np.ones((1 + RESAMPLES, images))  # of each image in the sample and its resamples
    for half in (first, ~first):
        counts[1:, half] = rng.multinomial(half.sum(), np.full(half.sum(), 1 / half.sum()), size=RESAMPLES)
    scaled = [values / (mediator.std() or 1.0) for values in (mediator, *repeats)]
    halves = [_explained(hits, scaled, counts, fitted, ~fitted) for fitted in (first, ~first)]
    explained, total = (halves[0] + halves[1]) / images, paired(hits)
    low, high = np.percentile(explained[1:], [2.5, 97.5])
    reliability = float(_reliability(*repeats, counts[:1])[0, 0])
    share, share_low, share_high = np.nan, np.nan, np.nan
    if total.p < LEVEL and reliability >= LEAST_RELIABILITY:
        share = explained[0] / hits.mean()
        with np.errstate(divide="ignore", invalid="ignore"):  # a resample may have no difference to share
            shares = explained[1:] / (counts[1:] @ hits / images)
        share_low, share_high = np.nanpercentile(shares, [2.5, 97.5])
    return Explained(
        total=total,
        value=100 * float(explained[0]),
        low=100 * float(low),
        high=100 * float(high),
        share=float(share),
        share_low=float(share_low),
        share_high=float(share_high),
        reliability=reliability,
        discordant=int((hits != 0).sum()),
    )


def _explained(
    hits: np.ndarray, measured: list[np.ndarray], counts: np.ndarray, fitted: np.ndarray, judged: np.ndarray
) -> np.ndarray:
    """Return the sum over judged images of the difference that the mediator explains, by resample [R]."""
    reliability = _reliability(measured[1][fitted], measured[2][fitted], counts[:, fitted])
    change = {}
    for name, half in (("fitted", fitted), ("judged", judged)):
        mean = counts[:, half] @ measured[0][half] / half.sum()
        change[name] = mean[:, None] + reliability * (measured[0][half] - mean[:, None])
    slope = _slope(hits[fitted], change["fitted"], counts[:, fitted])
    return (counts[:, judged] * np.abs(hits[judged]) * np.tanh(slope[:, None] * change["judged"] / 2)).sum(axis=1)


def _reliability(first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the reliability of the mean of two measurements, by resample [R, 1]: Spearman and Brown's 2 c / (1 + c).

    It is 0 where their correlation c is not positive.
    """
    total = counts.sum(axis=1)
    first, second = (values - (counts @ values / total)[:, None] for values in (first, second))
    covariance, *variances = ((counts * a * b).sum(axis=1) for a, b in ((first, second), (first, first), (second,) * 2))
    spread = np.sqrt(variances[0] * variances[1])
    correlation = np.divide(covariance, spread, out=np.zeros_like(spread), where=spread > 0).clip(0, 1)
    return (2 * correlation / (1 + correlation))[:, None]


def _slope(hits: np.ndarray, change: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Fit the logistic regression of who is right on the change [R, n], by resample, and return its slopes b [R].

    Changes are centred for the fit: else a change that is the same for all images could stand in for a.
    """
    differ = hits != 0
    hits, change, counts = hits[differ], change[:, differ], counts[:, differ]
    weight, ours = counts * np.abs(hits), (hits > 0).astype(float)
    change = change - (weight * change).sum(axis=1, keepdims=True) / weight.sum(axis=1, keepdims=True).clip(1e-9)
    a, b = np.zeros((2, len(counts), 1))
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-(a + b * change)))
        error, curvature = weight * (ours - p), weight * p * (1 - p)
        gradient = [(error * x).sum(axis=1, keepdims=True) for x in (1.0, change)]
        gradient = [gradient[0] - a / PRIOR**2, gradient[1] - b / PRIOR**2]
        aa, ab, bb = ((curvature * x).sum(axis=1, keepdims=True) for x in (1.0, change, change**2))
        aa, bb = aa + PRIOR**-2, bb + PRIOR**-2
        determinant = aa * bb - ab**2
        a = a + ((bb * gradient[0] - ab * gradient[1]) / determinant).clip(-2, 2)
        b = b + ((aa * gradient[1] - ab * gradient[0]) / determinant).clip(-2, 2)
    return b[:, 0]
