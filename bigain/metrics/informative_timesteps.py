"""Where in t the class is: accuracy at single timesteps, and weights w(t) judged on images they were not fitted on.

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


def accuracy_at_timesteps(trials: pd.DataFrame, labels: Mapping[int, int]) -> pd.DataFrame:
    """Return Acc@1 of a decision by the errors at a single timestep, in percent, with its Wilson interval.

    A row has `t` of 1,000, `classes`, `images`, `accuracy`, `low`, `high` and `chance`. Only the trials of the first
    stage compare all classes: those of later stages, among the classes that survived, are left out, since what survives
    was chosen by other errors.
    """
    first = trials[trials["stage"] == trials["stage"].min()]
    arrays = trial_arrays(first)
    right = class_indices(arrays, labels)
    rows = []
    for t in np.unique(arrays.t[~np.isnan(arrays.t)]):
        image, trial = np.nonzero(arrays.t == t)
        errors = arrays.errors[image, :, trial]
        estimate = accuracy(errors.argmin(axis=1) == right[image])
        shares = {"accuracy": estimate.value, "low": estimate.low, "high": estimate.high}
        rows.append({"t": int(t), "classes": errors.shape[1], "images": len(image), **shares})
    return pd.DataFrame(rows).assign(chance=lambda table: 100 / table["classes"])


FITS: dict[str, Callable[[pd.DataFrame, Mapping[int, int]], WeightFunction]] = {
    "piecewise linear": fit_weights,
    "polynomial": fit_polynomial,
    "logit-normal": fit_logit_normal,
}


@dataclass(frozen=True)
class Judged:
    """Weights by name, and what they do on the other half of the images: a row per weights with Acc@1 in percent, its
    interval, and the paired difference from uniform weights with its interval, in points."""

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
            }
        )
    return Judged(weights, pd.DataFrame(rows))
