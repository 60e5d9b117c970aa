"""Weights w(t) of trials over timesteps: fixed functions by name, and one fitted on labelled errors.

All are functions of t in [0, 1] (0: image, 1: noise) that weigh errors of eps. Weights decide among the classes that
reached an image's last stage; which classes are eliminated before does not depend on them, so every weighting can be
replayed on stored errors, with the decisions of a run that had used it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import logsumexp

from bigain.metrics.trial_arrays import TrialArrays, trial_arrays

T = 1000  # timesteps of a model
KNOTS = 5
LARGEST_CHANGE = 1e-9  # of the mean negative log-likelihood, at which a fit ends

WeightFunction = Callable[[np.ndarray], np.ndarray]

WEIGHTS: dict[str, WeightFunction] = {
    "uniform": np.ones_like,  # the paper's
    "exp(-7t)": lambda t: np.exp(-7 * t),  # Clark and Jaini (NeurIPS 2023): of errors of x_0, see `of_x_0`
}


@dataclass(frozen=True)
class PiecewiseLinear:
    """Weights that are linear between knots: `values` at the timesteps `knots`, rising, in [0, 1]."""

    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, t: np.ndarray) -> np.ndarray:
        """Return w(t), constant beyond the outer knots."""
        return np.interp(t, self.knots, self.values)


def of_x_0(weights: str | WeightFunction, alphas_bar: np.ndarray) -> WeightFunction:
    """Return weights of eps errors that weigh errors of x_0 by w(t): w(t) (1 - alpha_bar_t) / alpha_bar_t.

    `alphas_bar` [1000] are the model's. With "exp(-7t)" this is Clark and Jaini's score, whose errors are of x_0.
    """

    def of_eps(t: np.ndarray) -> np.ndarray:
        alpha_bar = alphas_bar[np.rint(t * T).astype(int)]
        return weight_function(weights)(t) * (1 - alpha_bar) / alpha_bar

    return of_eps


def weight_function(weights: str | WeightFunction) -> WeightFunction:
    """Return the function of a name. Raises ValueError naming the allowed names for an unknown one."""
    if callable(weights):
        return weights
    if weights not in WEIGHTS:
        raise ValueError(f"unknown weights {weights!r}; allowed are {', '.join(WEIGHTS)}, or a function of t in [0, 1]")
    return WEIGHTS[weights]


def weights_at(weights: str | WeightFunction, t: np.ndarray) -> np.ndarray:
    """Return w of timesteps of 1,000, any shape; 0 where t is NaN, as of a trial that was not needed.

    Raises ValueError if a weight is negative or not finite, or if all are zero.
    """
    known = ~np.isnan(t)
    values = np.zeros(t.shape)
    values[known] = weight_function(weights)(t[known] / T)
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() > 0):
        raise ValueError(f"weights {weights!r} have to be finite, not negative and not all zero at {_some(t[known])}")
    return values


def weighted_means(arrays: TrialArrays, weights: str | WeightFunction = "uniform") -> np.ndarray:
    """Return sum_t w(t) error / sum_t w(t) of every image and class over the trials that it has: [N, K].

    Means of classes that were eliminated after different stages are over different timesteps and not comparable:
    `bigain.metrics.calibration.paired_differences` compares them. Raises as `average` does.
    """
    return average(arrays.errors, arrays, weights)


def average(
    values: np.ndarray, arrays: TrialArrays, weights: str | WeightFunction, of: np.ndarray | None = None
) -> np.ndarray:
    """Average values [N, K, M] over the trials of a run with weights w(t): [N, K], infinite for classes not in `of`.

    `of` [N, K], bool, are all classes unless passed. Raises ValueError naming an image and class of these all of whose
    trials have weight zero, or that has none.
    """
    chosen = np.ones(values.shape[:2], dtype=bool) if of is None else of
    shares = weights_at(weights, arrays.t)[:, None] * arrays.evaluated
    totals = shares.sum(axis=2)
    if (weightless := chosen & (totals == 0)).any():
        image, label = (axis[0] for axis in np.nonzero(weightless))
        raise ValueError(
            f"image {arrays.images[image]}, class {arrays.classes[label]}: weights {weights!r} are zero at all of its "
            "trials"
        )
    sums = np.einsum("nkm,nkm->nk", shares, np.nan_to_num(values))
    return np.divide(sums, totals, out=np.full(sums.shape, np.inf), where=chosen)


def predicted(arrays: TrialArrays, weights: str | WeightFunction = "uniform") -> np.ndarray:
    """Return the class of every image, as its index in `classes` [N]: the lowest weighted mean among the finalists,
    ties to the lowest class. The others may lack trials altogether."""
    return average(arrays.errors, arrays, weights, of=arrays.finalists).argmin(axis=1)


def fit_weights(trials: pd.DataFrame, labels: Mapping[int, int], knots: int = KNOTS) -> PiecewiseLinear:
    """Fit w(t) to labelled errors: multinomial logistic regression on the errors at each timestep.

    The class probabilities are the softmax over classes of -mean_t w(t) (error_c(t) - error_right(t)), where w is
    linear between evenly spaced knots over the run's timesteps and not negative; the likelihood is concave in w. The
    mean is over the trials that a class and the right one (`labels`, by image) both have: one that was eliminated
    early, over those of the first stages, which are spread over all of t. The weights have mean 1 over the timesteps;
    their scale is fitted apart, as a temperature.

    Raises ValueError if no weights explain the labels better than chance, and as `class_indices` does.
    """
    arrays = trial_arrays(trials)
    t = arrays.t / T
    places = np.linspace(np.nanmin(t), np.nanmax(t), knots)
    basis = np.stack([np.interp(np.nan_to_num(t), places, unit) for unit in np.eye(knots)], axis=-1)
    values = regression(behind_the_right(arrays, labels), basis)
    mean = mean_over(t, PiecewiseLinear(tuple(places.tolist()), tuple(values.tolist())))
    return PiecewiseLinear(tuple(places.tolist()), tuple((values / mean).tolist()))


def behind_the_right(arrays: TrialArrays, labels: Mapping[int, int]) -> np.ndarray:
    """Return how far each class is behind the right one at each trial, over the number of trials that both have:
    [N, K, M], 0 at other trials. Raises as `class_indices` does."""
    right = arrays.errors[np.arange(len(arrays.errors)), class_indices(arrays, labels)]
    differences = arrays.errors - right[:, None]
    return np.nan_to_num(differences) / (~np.isnan(differences)).sum(axis=2, keepdims=True)


def mean_over(t: np.ndarray, weights: WeightFunction) -> float:
    """Return the mean weight over the timesteps. Raises ValueError if it is 0."""
    mean = float(weights(t[~np.isnan(t)]).mean())
    if not mean > 0:
        raise ValueError("no weights explain the labels better than chance: the errors say nothing about them")
    return mean


def regression(behind: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Return the coefficients [J], not negative, of the basis [N, M, J] with which `behind_the_right` explains labels
    best: multinomial logistic regression, up to the scale of the coefficients."""
    design = np.einsum("nkm,nmj->nkj", behind, basis)
    scale = 1 / np.abs(design).mean()

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        logits = -scale * design @ values
        normaliser = logsumexp(logits, axis=1)
        share = np.exp(logits - normaliser[:, None])
        return float(normaliser.mean()), -scale * np.einsum("nk,nkj->j", share, design) / len(design)

    fitted = minimize(
        loss,
        np.ones(basis.shape[-1]),
        jac=True,
        bounds=[(0, None)] * basis.shape[-1],
        method="L-BFGS-B",
        options={"ftol": LARGEST_CHANGE},
    )
    return fitted.x


def class_indices(arrays: TrialArrays, labels: Mapping[int, int]) -> np.ndarray:
    """Return the index in `classes` of every image's label [N]. Raises ValueError naming an image without one, or a
    label that is not a class of the run."""
    index = {label: k for k, label in enumerate(arrays.classes)}
    for image in arrays.images:
        if image not in labels:
            raise ValueError(f"image {image} of the errors has no label")
        if labels[image] not in index:
            raise ValueError(f"image {image}: its label {labels[image]!r} is not one of {_some(arrays.classes)}")
    return np.array([index[labels[image]] for image in arrays.images])


def _some(values: Sequence[object] | np.ndarray) -> str:
    shown = list(dict.fromkeys(values))[:5]
    return ", ".join(map(str, shown)) + (", ..." if len(values) > len(shown) else "")
