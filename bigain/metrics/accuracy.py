"""From per-trial errors to decisions: Acc@1 and mAP, with intervals. Arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval, from n items."""

    value: float
    low: float
    high: float
    n: int


def mean_errors(trials: pd.DataFrame, stage: int | None = None) -> pd.DataFrame:
    """Mean error of every image and class: images x classes, NaN where nothing was run. `stage` restricts to one."""
    chosen = trials if stage is None else trials[trials["stage"] == stage]
    return chosen.pivot_table(index="image", columns="class", values="error", aggfunc="mean")


def last_stages(trials: pd.DataFrame) -> pd.DataFrame:
    """The last stage that each class of each image took part in: images x classes."""
    return trials.pivot_table(index="image", columns="class", values="stage", aggfunc="max")


def decisions(trials: pd.DataFrame) -> pd.Series:
    """The predicted class of every image: lowest mean error among those of the last stage, ties to the lowest class."""
    means, stages = mean_errors(trials), last_stages(trials)
    finalists = means.where(stages.eq(stages.max(axis=1), axis=0))
    return finalists.idxmin(axis=1)


def correct(predicted: pd.Series, labels: dict[int, Sequence[int]]) -> np.ndarray:
    """Whether each image's prediction is among its labels, in the order of `predicted`."""
    return np.array([choice in labels[image] for image, choice in predicted.items()])


def accuracy(hits: np.ndarray) -> Estimate:
    """Acc@1 in percent with its Wilson interval."""
    result = stats.binomtest(int(hits.sum()), len(hits))
    interval = result.proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(100 * hits.mean(), 100 * interval.low, 100 * interval.high, len(hits))


def class_accuracy(hits: np.ndarray, classes: Sequence[int]) -> Estimate:
    """The mean over classes of each class's Acc@1, in percent; normal interval from the classes' binomial variances."""
    by_class = pd.Series(hits.astype(float)).groupby(np.asarray(classes))
    means, counts = by_class.mean(), by_class.count()
    spread = 1.96 * np.sqrt((means * (1 - means) / counts).sum()) / len(means)
    value = means.mean()
    return Estimate(100 * value, 100 * max(0.0, value - spread), 100 * min(1.0, value + spread), len(hits))


def ranking(trials: pd.DataFrame) -> pd.DataFrame:
    """Every image's classes, best first: images x ranks.

    Classes that survived longer come first; classes that left after the same stage are compared by their mean error
    over the timesteps they share. (The release mixes means over different timesteps: `released_ranking`.)
    """
    means, stages = mean_errors(trials), last_stages(trials)
    return _ranked(-stages, means)


def released_ranking(trials: pd.DataFrame) -> pd.DataFrame:
    """The released code's order: the winner, then all others by mean error, whatever timesteps it is over."""
    means, winner = mean_errors(trials), decisions(trials)
    first = pd.DataFrame(1, index=means.index, columns=means.columns)
    for image, choice in winner.items():
        first.loc[image, choice] = 0
    return _ranked(first, means)


def _ranked(first: pd.DataFrame, then: pd.DataFrame) -> pd.DataFrame:
    order = np.lexsort((then.to_numpy(), first.to_numpy()), axis=1)
    return pd.DataFrame(then.columns.to_numpy()[order], index=then.index)


def image_average_precision(order: pd.DataFrame, labels: dict[int, Sequence[int]]) -> np.ndarray:
    """Average precision of every image's ranking against its labels; an image without labels has 0."""
    values = []
    for image, row in zip(order.index, order.to_numpy(), strict=True):
        hit = np.isin(row, list(labels[image]))
        precision = np.cumsum(hit) / np.arange(1, len(row) + 1)
        values.append(precision[hit].mean() if hit.any() else 0.0)
    return np.array(values)


def mean_average_precision(values: np.ndarray, seed: int) -> Estimate:
    """Mean over images in percent, with a percentile bootstrap over images; of one image nothing is known but it."""
    if len(values) == 1:
        return Estimate(100 * float(values[0]), 0.0, 100.0, 1)
    interval = stats.bootstrap(
        (values,), np.mean, confidence_level=CONFIDENCE, n_resamples=2000, method="percentile", rng=seed
    ).confidence_interval
    return Estimate(100 * values.mean(), 100 * interval.low, 100 * interval.high, len(values))


def macro_average_precision(trials: pd.DataFrame, labels: dict[int, Sequence[int]], seed: int) -> Estimate:
    """Mean over classes of the average precision over images, in percent, from the first stage (where no class is
    missing); the score is the image's mean error minus the class's. Bootstrap over images."""
    from sklearn.metrics import average_precision_score

    errors = mean_errors(trials, stage=0)
    scores = errors.mean(axis=1).to_numpy()[:, None] - errors.to_numpy()
    truth = np.array([[c in labels[image] for c in errors.columns] for image in errors.index])

    def score(rows: np.ndarray) -> float:
        present = truth[rows].any(axis=0)
        return float(average_precision_score(truth[rows][:, present], scores[rows][:, present], average="macro"))

    everything = np.arange(len(truth))
    draws = np.random.default_rng(seed).integers(len(truth), size=(200, len(truth)))
    low, high = np.percentile([score(rows) for rows in draws], [2.5, 97.5])
    return Estimate(100 * score(everything), 100 * low, 100 * high, len(truth))
