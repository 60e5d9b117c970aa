"""Decisions from per-trial errors, and their Acc@1 and mAP with 95% intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES, RESAMPLES_MACRO = 2000, 200  # of the bootstraps
Labels = Mapping[int, Sequence[int]]  # the right classes of every image


@dataclass(frozen=True)
class Estimate:
    """An estimate from n items, with its 95% interval."""

    value: float
    low: float
    high: float
    n: int


def mean_errors(trials: pd.DataFrame, stage: int | None = None) -> pd.DataFrame:
    """Return the mean error of every image and class, images x classes; NaN for classes without trials.

    `stage` restricts the mean to the trials of one stage.
    """
    selected = trials if stage is None else trials[trials["stage"] == stage]
    return selected.pivot_table(index="image", columns="class", values="error", aggfunc="mean")


def last_stages(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the last stage that every class of every image reached, images x classes."""
    return trials.pivot_table(index="image", columns="class", values="stage", aggfunc="max")


def decisions(trials: pd.DataFrame) -> pd.Series:
    """Return the class predicted for every image: lowest mean error in the last stage, ties to the lowest class."""
    means, stages = mean_errors(trials), last_stages(trials)
    finalists = means.where(stages.eq(stages.max(axis=1), axis=0))
    return finalists.idxmin(axis=1)


def correct(predicted: pd.Series, labels: Labels) -> np.ndarray:
    """Return whether each image's prediction is among its labels, in the order of `predicted`."""
    return np.array(
        [label in labels[image] for image, label in zip(predicted.index.tolist(), predicted.tolist(), strict=True)]
    )


def accuracy(hits: np.ndarray) -> Estimate:
    """Return Acc@1 in percent with its Wilson interval."""
    result = stats.binomtest(int(hits.sum()), len(hits))
    interval = result.proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(100 * hits.mean(), 100 * interval.low, 100 * interval.high, len(hits))


def class_accuracy(hits: np.ndarray, classes: Sequence[int]) -> Estimate:
    """Return the mean of the classes' Acc@1 in percent, with the interval of Price and Bonett for K proportions.

    Four images, half of them right, are added to the classes in equal parts, so that classes at 0% or 100% have a
    variance too (Computational Statistics & Data Analysis 45, 2004; for one class this is the interval of Agresti and
    Coull). Unlike theirs, the variance is the unbiased one: theirs is half as large as it should be with 2 images per
    class, as the paper's study has of ImageNet-1k. A class of a single image, from which no variance can be estimated,
    gets that of the mean of all classes.
    """
    by_class = pd.Series(hits.astype(float)).groupby(np.asarray(classes))
    right, counts = by_class.sum(), by_class.count()
    added = 4 / len(counts)
    shares = (right + added / 2) / (counts + added)
    centre = shares.mean()
    variances = (shares * (1 - shares) / (counts + added - 1)).where(counts > 1, centre * (1 - centre))
    spread = 1.96 * np.sqrt(variances.sum()) / len(counts)
    low, high = max(0.0, centre - spread), min(1.0, centre + spread)
    return Estimate(100 * by_class.mean().mean(), 100 * low, 100 * high, len(hits))


def ranking(trials: pd.DataFrame) -> pd.DataFrame:
    """Rank every image's classes, best first: images x ranks.

    Classes that survived longer come first; classes eliminated after the same stage are compared by their mean error,
    which is over the same timesteps. (The released code mixes means over different timesteps: `released_ranking`.)
    """
    means, stages = mean_errors(trials), last_stages(trials)
    return _ranked(-stages, means)


def released_ranking(trials: pd.DataFrame) -> pd.DataFrame:
    """Rank as the released code: the winner, then all others by mean error, whichever timesteps it is over."""
    means, winners = mean_errors(trials), decisions(trials)
    is_not_winner = pd.DataFrame(1, index=means.index, columns=means.columns)
    for image, winner in winners.items():
        is_not_winner.loc[image, winner] = 0
    return _ranked(is_not_winner, means)


def _ranked(primary: pd.DataFrame, secondary: pd.DataFrame) -> pd.DataFrame:
    """Sort every image's classes by a primary key, then by a secondary one, both rising."""
    order = np.lexsort((secondary.to_numpy(), primary.to_numpy()), axis=1)
    return pd.DataFrame(secondary.columns.to_numpy()[order], index=secondary.index)


def image_average_precision(rankings: pd.DataFrame, labels: Labels) -> np.ndarray:
    """Return the average precision of every image's ranking; 0 for an image without labels."""
    values = []
    for image, ranked in zip(rankings.index, rankings.to_numpy(), strict=True):
        hit = np.isin(ranked, list(labels[image]))
        precision = np.cumsum(hit) / np.arange(1, len(ranked) + 1)
        values.append(precision[hit].mean() if hit.any() else 0.0)
    return np.array(values)


def mean_average_precision(values: np.ndarray, seed: int) -> Estimate:
    """Return the mean over images in percent, with a percentile bootstrap over images; 0 to 100 for a single image.

    If all images have the same precision, a bootstrap has no spread, so the interval is that of a proportion.
    """
    if len(values) == 1:
        return Estimate(100 * float(values[0]), 0.0, 100.0, 1)
    if np.ptp(values) == 0:
        return _as_proportion(float(values[0]), len(values))
    interval = stats.bootstrap(
        (values,), np.mean, confidence_level=CONFIDENCE, n_resamples=RESAMPLES, method="percentile", rng=seed
    ).confidence_interval
    return Estimate(100 * values.mean(), 100 * interval.low, 100 * interval.high, len(values))


def _as_proportion(share: float, count: int) -> Estimate:
    """Return a mean of `count` numbers in [0, 1] in percent, with the Wilson interval of a proportion.

    No distribution on [0, 1] with this mean has a larger variance than that of zeros and ones.
    """
    z2 = stats.norm.ppf((1 + CONFIDENCE) / 2) ** 2 / count
    centre, spread = (share + z2 / 2) / (1 + z2), np.sqrt(z2 * (share * (1 - share) + z2 / 4)) / (1 + z2)
    low, high = max(0.0, centre - spread), min(1.0, centre + spread)
    return Estimate(100 * share, 100 * low, 100 * high, count)


def macro_average_precision(trials: pd.DataFrame, labels: Labels, seed: int) -> Estimate:
    """Return the mean over classes of the average precision over images, in percent, with a bootstrap over images.

    Images are ranked by their mean error minus the class's, over stage 0, where no class is missing: `keep` drops
    classes after it, and `bigain.jobs.score` refuses trials without one. If all resamples have the same score, as those
    of a perfect ranking, the interval is that of a proportion of the images.
    """
    from sklearn.metrics import average_precision_score

    errors = mean_errors(trials, stage=0)
    scores = errors.mean(axis=1).to_numpy()[:, None] - errors.to_numpy()
    truth = np.array([[label in labels[image] for label in errors.columns] for image in errors.index])

    def score(rows: np.ndarray) -> float:
        present = truth[rows].any(axis=0)
        return float(average_precision_score(truth[rows][:, present], scores[rows][:, present], average="macro"))

    everything = np.arange(len(truth))
    draws = np.random.default_rng(seed).integers(len(truth), size=(RESAMPLES_MACRO, len(truth)))
    resampled = [score(rows) for rows in draws]
    if np.ptp(resampled) == 0:
        return _as_proportion(resampled[0], len(truth))
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Estimate(100 * score(everything), 100 * low, 100 * high, len(truth))
