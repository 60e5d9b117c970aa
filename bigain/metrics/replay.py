"""Replay a schedule on a run that stores the error of every class at every trial: its decisions and its cost.

`errors` are [images, K, M] over the grid's timesteps in rising order. A schedule only leaves trials out, so its
decisions follow from the stored errors without running a model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bigain.classifier.descent import Descent
from bigain.classifier.elimination import Elimination
from bigain.classifier.timesteps import Stages, midpoints
from bigain.metrics.accuracy import Labels, correct


@dataclass(frozen=True)
class Outcome:
    """The predicted class of every image, and its number of noise predictions."""

    predicted: np.ndarray
    predictions: np.ndarray


def full_errors(trials: pd.DataFrame) -> tuple[np.ndarray, list[int], list[int]]:
    """Return the errors [images, K, M], the image ids and the timesteps of a run without stages.

    Raises ValueError naming an image that lacks a class at a timestep, or timesteps that are not a grid of midpoints.
    """
    timesteps = sorted(trials["t"].unique().tolist())
    if timesteps != midpoints(len(timesteps)):
        raise ValueError(f"timesteps {timesteps[:3]}... are not the grid of {len(timesteps)} midpoints")
    table = trials.pivot_table(index="image", columns=["class", "t"], values="error", aggfunc="mean")
    classes = sorted(trials["class"].unique().tolist())
    table = table.reindex(columns=pd.MultiIndex.from_product([classes, timesteps]))
    if len(holes := table.index[table.isna().any(axis=1)]):
        raise ValueError(f"image {holes[0]} lacks classes at some timesteps: run it with one stage, keep [1]")
    return table.to_numpy().reshape(len(table), len(classes), -1), table.index.tolist(), timesteps


def in_full(errors: np.ndarray) -> Outcome:
    """Return the decisions of the full evaluation: every class at every trial."""
    images, classes, trials = errors.shape
    return Outcome(errors.mean(axis=2).argmin(axis=1), np.full(images, classes * trials))


def by_stages(errors: np.ndarray, stages: Stages, descent: Descent | None = None) -> Outcome:
    """Replay the fixed stages of Table 10, after the descent of a label tree if there is one.

    Raises ValueError unless the stages end with the run's number of trials and the tree has its classes.
    """
    if stages.trials != errors.shape[2]:
        raise ValueError(f"stages {list(stages.targets)} do not end with the run's {errors.shape[2]} trials")
    trials = _trials(stages.timesteps(), errors.shape[2])
    _check(descent, errors, trials)

    def replay(image: np.ndarray) -> tuple[int, int]:
        classes, predictions = _candidates(image, trials[0], descent)
        seen = np.empty(0, dtype=int)
        for new, keep in zip(trials, stages.keep, strict=True):
            if len(classes) == 1 and len(seen):
                break
            seen = np.concatenate([seen, new])
            predictions += len(new) * len(classes)
            order = image[np.ix_(classes, seen)].mean(axis=1).argsort(kind="stable")
            classes = np.sort(classes[order[:keep]])
        return int(classes[0]), predictions

    return _outcome(replay(image) for image in errors)


def by_elimination(errors: np.ndarray, elimination: Elimination, descent: Descent | None = None) -> Outcome:
    """Replay elimination, after the descent of a label tree if there is one.

    Raises ValueError unless the tree has the run's classes.
    """
    trials = errors.shape[2]
    stages = _trials(elimination.timesteps(trials), trials)
    _check(descent, errors, stages)

    def replay(image: np.ndarray) -> tuple[int, int]:
        classes, predictions = _candidates(image, stages[0], descent)
        seen = np.empty(0, dtype=int)
        for new in stages:
            seen = np.concatenate([seen, new])
            predictions += len(new) * len(classes)
            classes = classes[elimination.survivors(image[np.ix_(classes, seen)], trials)]
            if len(classes) == 1:
                break
        return int(classes[image[np.ix_(classes, seen)].mean(axis=1).argmin()]), predictions

    return _outcome(replay(image) for image in errors)


def _check(descent: Descent | None, errors: np.ndarray, trials: list[np.ndarray]) -> None:
    """Raise ValueError for a descent that does not fit the errors, or the trials of the first stage."""
    if descent is not None:
        descent.check(errors.shape[1], len(trials[0]))


def _candidates(image: np.ndarray, first: np.ndarray, descent: Descent | None) -> tuple[np.ndarray, int]:
    """Return the classes that the first stage compares, of the errors [K, M] of an image, and how many noise
    predictions for other classes a descent has cost at the `first` trials."""
    classes, evaluated = list(range(len(image))), dict[int, list[float]]()
    if descent is not None:
        for level in range(len(descent.levels)):
            chosen = descent.representatives_of(level, classes)
            evaluated |= {c: image[c, first].tolist() for c in chosen}
            classes = descent.survivors(level, classes, evaluated)
    return np.array(classes), len(first) * len(evaluated.keys() - set(classes))


def _trials(timesteps: list[list[int]], count: int) -> list[np.ndarray]:
    """Return the places of timesteps in the grid of `count` midpoints, list by list."""
    place = {t: k for k, t in enumerate(midpoints(count))}
    return [np.array([place[t] for t in part], dtype=int) for part in timesteps]


def _outcome(images: Iterable[tuple[int, int]]) -> Outcome:
    predicted, predictions = zip(*images, strict=True)
    return Outcome(np.array(predicted), np.array(predictions))


def hits(outcome: Outcome, images: list[int], labels: Labels) -> np.ndarray:
    """Return which images are classified correctly."""
    return correct(pd.Series(outcome.predicted, index=images), labels)
