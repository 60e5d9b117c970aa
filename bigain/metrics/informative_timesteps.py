"""Informative timesteps: accuracy at single t, and weights w(t) judged on images that they were not fitted on.

In a flow model most timesteps may say nothing about the class, so that a mean over all of them hides the few that do.
Everything is computed from stored errors, of any run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import comb, logit, logsumexp

from bigain.metrics.accuracy import accuracy
from bigain.metrics.significance import paired
from bigain.metrics.timestep_weights import (
    WEIGHTS,
    T,
    WeightFunction,
    behind_the_right,
    class_indices,
    fit_weights,
    mean_over,
    predicted,
    regression,
)
from bigain.metrics.trial_arrays import trial_arrays

DEGREE = 4
STARTS = (-1.5, -0.5, 0.5, 1.5)  # means of logit-normal weights from which the fit starts
BOUNDS = ((-4.0, 4.0), (-1.5, 1.5), (-5.0, 15.0))  # of its mean, log spread and log scale: where the grid sees a shape


@dataclass(frozen=True)
class Polynomial:
    """Weights sum_j c_j C(d, j) t^j (1 - t)^(d - j), a polynomial in Bernstein's form: not negative where no c_j is."""

    coefficients: tuple[float, ...]

    def __call__(self, t: np.ndarray) -> np.ndarray:
        """Return w(t)."""
        return bernstein(t, len(self.coefficients) - 1) @ np.array(self.coefficients)


@dataclass(frozen=True)
class LogitNormal:
    """Weights proportional to the density of t whose logit is normal, from which SD3 draws its training timesteps."""

    mean: float
    spread: float
    scale: float = 1.0

    def __call__(self, t: np.ndarray) -> np.ndarray:
        """Return w(t); 0 at t = 0 and t = 1."""
        inside = np.clip(t, 1e-6, 1 - 1e-6)
        return self.scale * np.exp(-(((logit(inside) - self.mean) / self.spread) ** 2) / 2) / (inside * (1 - inside))


def bernstein(t: np.ndarray, degree: int) -> np.ndarray:
    """Return Bernstein's polynomials of a degree at t: [..., degree + 1]."""
    powers = np.arange(degree + 1)
    t = np.asarray(t)[..., None]
    return comb(degree, powers) * t**powers * (1 - t) ** (degree - powers)


def fit_polynomial(trials: pd.DataFrame, labels: Mapping[int, int], degree: int = DEGREE) -> Polynomial:
    """Fit polynomial weights as `fit_weights` fits piecewise linear ones; mean 1 over the timesteps."""
    arrays = trial_arrays(trials)
    t = arrays.t / T
    values = regression(behind_the_right(arrays, labels), bernstein(np.nan_to_num(t), degree))
    return Polynomial(tuple((values / mean_over(t, Polynomial(tuple(values)))).tolist()))


def fit_logit_normal(trials: pd.DataFrame, labels: Mapping[int, int]) -> LogitNormal:
    """Fit mean and spread of logit-normal weights by maximum likelihood; mean 1 over the timesteps.

    The likelihood is that of `fit_weights`, whose scale is a third parameter. It is not concave here, so the best of
    several starts is kept.
    """
    arrays = trial_arrays(trials)
    t, behind = arrays.t / T, behind_the_right(arrays, labels)
    size = np.abs(behind).sum(axis=2).mean()

    def loss(parameters: np.ndarray) -> float:
        mean, log_spread, log_scale = parameters
        shape = np.nan_to_num(LogitNormal(mean, np.exp(log_spread))(t))
        logits = -np.exp(log_scale) / size * np.einsum("nkm,nm->nk", behind, shape / max(shape.max(), 1e-300))
        return float(logsumexp(logits, axis=1).mean())

    options = {"maxiter": 400, "xatol": 1e-3, "fatol": 1e-7}
    fits = [minimize(loss, (mean, 0.0, 2.0), method="Nelder-Mead", bounds=BOUNDS, options=options) for mean in STARTS]
    mean, log_spread, _ = min(fits, key=lambda fit: fit.fun).x
    shape = LogitNormal(float(mean), float(np.exp(log_spread)))
    return LogitNormal(shape.mean, shape.spread, 1 / mean_over(t, shape))


@dataclass(frozen=True)
class TimestepHits:
    """Decisions by the errors at a single timestep: `hits` [N, M], whether each of N images is right at each timestep.

    Timesteps are of 1,000. All K `classes` of every image have an error at these. At those in `incomplete`, some
    classes have none, because they were dropped before: those that survive were chosen by other errors, so they are no
    fair test. Its values are the fewest classes that an image has there.
    """

    images: list[int]
    timesteps: list[int]
    hits: np.ndarray
    classes: int
    incomplete: dict[int, int]

    def accuracies(self) -> pd.DataFrame:
        """Return Acc@1 of each timestep in percent with its Wilson interval, a row per timestep.

        Columns: `t`, `classes`, `images`, `accuracy`, `low`, `high`, `chance`.
        """
        rows = []
        for t, hits in zip(self.timesteps, self.hits.T, strict=True):
            estimate = accuracy(hits)
            shares = {"accuracy": estimate.value, "low": estimate.low, "high": estimate.high}
            rows.append({"t": t, "classes": self.classes, "images": estimate.n, **shares})
        columns = ["t", "classes", "images", "accuracy", "low", "high"]
        return pd.DataFrame(rows, columns=columns).assign(chance=100 / self.classes)


def tried_classes(trials: pd.DataFrame) -> pd.Series:
    """Return, by timestep in rising order, the fewest classes that an image of the run has an error of; 0 if it has
    none."""
    counts = trials.groupby(["t", "image"]).size().unstack(fill_value=0)
    return counts.min(axis=1).sort_index()


def at_complete_timesteps(trials: pd.DataFrame, classes: int) -> pd.DataFrame:
    """Return the trials at timesteps at which every image has an error of each of so many classes."""
    tried = tried_classes(trials)
    return trials[trials["t"].isin(tried.index[tried == classes])]


def hits_at_timesteps(trials: pd.DataFrame, labels: Mapping[int, int], classes: int) -> TimestepHits:
    """Decide every image by its errors at each single timestep, where all of so many classes can be compared.

    There may be no such timestep, as where they are drawn anew for every image. Raises ValueError for a trial that
    occurs twice, and naming an image without a label.
    """
    ordered = at_complete_timesteps(trials, classes).sort_values(["image", "t", "class"])
    known, timesteps = (np.unique(ordered[name]).tolist() for name in ("class", "t"))
    images = np.unique(trials["image"]).tolist()
    shape = len(images), len(timesteps), len(known)
    if len(ordered) != np.prod(shape) or (ordered["class"].to_numpy().reshape(shape) != known).any():
        raise ValueError("a trial occurs twice in the errors")
    if unlabelled := [image for image in images if image not in labels]:
        raise ValueError(f"image {unlabelled[0]} of the errors has no label")
    right = np.array([labels[image] for image in images])
    hits = np.zeros(shape[:2], dtype=bool)
    if timesteps:
        hits = np.array(known)[ordered["error"].to_numpy().reshape(shape).argmin(axis=2)] == right[:, None]
    tried = tried_classes(trials)
    fewer = tried[tried < classes]
    incomplete = dict(zip(fewer.index.tolist(), fewer.tolist(), strict=True))
    return TimestepHits(images, timesteps, hits, classes, incomplete)


FITS: dict[str, Callable[[pd.DataFrame, Mapping[int, int]], WeightFunction]] = {
    "piecewise linear": fit_weights,
    "polynomial": fit_polynomial,
    "logit-normal": fit_logit_normal,
}


@dataclass(frozen=True)
class Judged:
    """Weights by name, and what they do on the other half of the images: a row per weights with Acc@1 in percent, its
    interval, and the paired difference from uniform weights with its interval, in points, and p-value."""

    weights: Mapping[str, WeightFunction]
    table: pd.DataFrame


def judge_weights(trials: pd.DataFrame, labels: Mapping[int, int], fitting: Collection[int]) -> Judged:
    """Fit all weights of `FITS` on the images `fitting` and judge them, and those of `WEIGHTS`, on all others.

    Raises ValueError if either are fewer than two images, and as `fit_weights` does.
    """
    chosen = trials["image"].isin(fitting)
    seen, unseen = trials[chosen], trials[~chosen]
    if min(seen["image"].nunique(), unseen["image"].nunique()) < 2:
        raise ValueError(
            f"{trials['image'].nunique()} images are too few to fit weights on some and judge on the others"
        )
    weights = {**WEIGHTS, **{f"fitted, {name}": fit(seen, labels) for name, fit in FITS.items()}}
    arrays = trial_arrays(unseen)
    right = class_indices(arrays, labels)
    hits = {name: predicted(arrays, function) == right for name, function in weights.items()}
    rows = []
    for name, hit in hits.items():
        estimate, difference = accuracy(hit), paired(hit.astype(float) - hits["uniform"])
        rows.append(
            {
                "weights": name,
                "fitted_on": seen["image"].nunique() if name.startswith("fitted") else 0,
                "images": estimate.n,
                "accuracy": estimate.value,
                "low": estimate.low,
                "high": estimate.high,
                "difference": difference.value,
                "difference_low": difference.low,
                "difference_high": difference.high,
                "p": difference.p,
            }
        )
    return Judged(weights, pd.DataFrame(rows))
