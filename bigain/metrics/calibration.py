"""Class probabilities from the errors of a diffusion classifier, their temperature, and how far they are calibrated.

p(c) is the softmax of -d_c / T, with d_c the mean error of class c minus that of the predicted class. Errors differ by
far less than 1, so at T = 1 all classes are almost equally probable: a temperature has to be fitted on labelled errors
of images that are not evaluated (Guo et al., ICML 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from bigain.metrics.timestep_weights import WeightFunction, average, predicted
from bigain.metrics.trial_arrays import TrialArrays

BINS = 15  # of confidence, as in Guo et al.
SEARCHED = 12  # decades of temperature around the median difference


def paired_differences(arrays: TrialArrays, weights: str | WeightFunction = "uniform") -> np.ndarray:
    """Return how far each class is behind the predicted one in mean error: [N, K], at least 0, and 0 for the predicted.

    Classes share the noise of a trial, so a class that was eliminated early is compared with the predicted class on the
    trials that it has: its mean error is over fewer timesteps, which alone would make it higher or lower. Where these
    few trials put it ahead of the class that won on all of them (under weights that the elimination did not use), the
    difference counts as 0: no class is more probable than the predicted one.
    """
    winners = arrays.errors[np.arange(len(arrays.errors)), predicted(arrays, weights)]
    return np.maximum(average(arrays.errors - winners[:, None], arrays, weights), 0.0)


def probabilities(differences: np.ndarray, temperature: float) -> np.ndarray:
    """Return softmax(-differences / T) over classes: [N, K]. Raises ValueError unless T is positive and finite."""
    return softmax(-differences / _checked(temperature), axis=1)


def negative_log_likelihood(differences: np.ndarray, right: np.ndarray, temperature: float) -> float:
    """Return the mean of -log p of the right classes [N], natural logarithm."""
    logs = log_softmax(-differences / _checked(temperature), axis=1)
    return float(-logs[np.arange(len(right)), right].mean())


def fit_temperature(differences: np.ndarray, right: np.ndarray) -> float:
    """Return the temperature with the lowest negative log-likelihood of the right classes [N] (Guo et al. 2017).

    The likelihood is concave in 1/T. Raises ValueError if it has no maximum at a positive, finite T: if the right class
    is always the predicted one, so that T = 0 is best, or if the errors say nothing about the classes.
    """
    behind = differences[np.arange(len(right)), right]
    if not behind.any():
        raise ValueError(
            f"all {len(right)} images are classified correctly, so that no temperature above 0 is the likeliest: "
            "calibrate on more or harder images"
        )
    if behind.mean() >= differences.mean():
        raise ValueError("the errors of the right classes are no lower than those of the others: nothing to calibrate")
    middle = np.log(np.median(differences[differences > 0]))
    reach = SEARCHED / 2 * np.log(10)
    fitted = minimize_scalar(
        lambda log_t: negative_log_likelihood(differences, right, float(np.exp(log_t))),
        bounds=(middle - reach, middle + reach),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(fitted.x))


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy of the predicted classes, in bins of equal width over (0, 1].

    `bins` has a row per bin that is not empty: lower and upper bound, images, mean confidence, accuracy. `ece` is the
    expected calibration error, sum_b n_b / N |accuracy_b - confidence_b|.
    """

    bins: pd.DataFrame
    ece: float


def reliability(probability: np.ndarray, right: np.ndarray, bins: int = BINS) -> Reliability:
    """Return the reliability of probabilities [N, K], given the right classes [N]."""
    confidence, hit = probability.max(axis=1), probability.argmax(axis=1) == right
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # (lower, upper]
    frame = pd.DataFrame({"bin": number, "confidence": confidence, "accuracy": hit.astype(float)})
    means = frame.groupby("bin").mean()
    counts = frame.groupby("bin").size()
    table = pd.DataFrame({"low": means.index / bins, "high": (means.index + 1) / bins, "images": counts.to_numpy()})
    table["confidence"], table["accuracy"] = means["confidence"].to_numpy(), means["accuracy"].to_numpy()
    gaps = (table["accuracy"] - table["confidence"]).abs()
    return Reliability(table, float((table["images"] * gaps).sum() / len(right)))


def _checked(temperature: float) -> float:
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature {temperature!r} has to be positive and finite")
    return temperature
