"""What a schedule would have cost and decided, from a run that stores the error of every class at every trial.

`errors` are [images, K, M] over the grid's timesteps in rising order. A schedule leaves trials out, so its decisions
follow from what is stored: no model runs here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bigain.classifier.elimination import Elimination
from bigain.classifier.timesteps import Stages, midpoints
from bigain.metrics.accuracy import correct


@dataclass(frozen=True)
class Outcome:
    """The predicted class and the noise predictions of every image."""

    predicted: np.ndarray
    predictions: np.ndarray


def full_errors(trials: pd.DataFrame) -> tuple[np.ndarray, list[int], list[int]]:
    """Errors [images, K, M], the image ids and the timesteps of a run without stages.

    Raises ValueError naming an image that has not every class at every timestep, or timesteps that are no grid.
    """
    timesteps = sorted(trials["t"].unique().tolist())
    if timesteps != midpoints(len(timesteps)):
        raise ValueError(f"timesteps {timesteps[:3]}... are not the grid of {len(timesteps)} midpoints")
    table = trials.pivot_table(index="image", columns=["class", "t"], values="error", aggfunc="mean")
    classes = sorted(trials["class"].unique().tolist())
    table = table.reindex(columns=pd.MultiIndex.from_product([classes, timesteps]))
    if len(holes := table.index[table.isna().any(axis=1)]):
        raise ValueError(f"image {holes[0]} has not every class at every timestep: run it with one stage, keep [1]")
    return table.to_numpy().reshape(len(table), len(classes), -1), table.index.tolist(), timesteps


def by_stages(errors: np.ndarray, stages: Stages) -> Outcome:
    """The fixed stages of Table 10. Raises ValueError if their trials are not those of the run."""
    place = {t: k for k, t in enumerate(midpoints(errors.shape[2]))}
    if stages.trials != errors.shape[2]:
        raise ValueError(f"stages {list(stages.targets)} end with other trials than the run's {errors.shape[2]}")

    def one(image: np.ndarray) -> tuple[int, int]:
        alive, seen, spent = np.arange(len(image)), [], 0
        for new, keep in zip(stages.timesteps(), stages.keep, strict=True):
            seen += [place[t] for t in new]
            spent += len(new) * len(alive)
            order = image[np.ix_(alive, seen)].mean(axis=1).argsort(kind="stable")
            alive = np.sort(alive[order[:keep]])
        return int(alive[0]), spent

    return _outcome(one(image) for image in errors)


def by_test(errors: np.ndarray, elimination: Elimination) -> Outcome:
    """Elimination by a paired test."""
    place = {t: k for k, t in enumerate(midpoints(errors.shape[2]))}
    waves = [[place[t] for t in wave] for wave in elimination.waves(errors.shape[2])]

    def one(image: np.ndarray) -> tuple[int, int]:
        alive, seen, spent = np.arange(len(image)), [], 0
        for wave in waves:
            seen += wave
            spent += len(wave) * len(alive)
            alive = alive[elimination.survivors(image[np.ix_(alive, seen)])]
            if len(alive) == 1:
                break
        return int(alive[image[np.ix_(alive, seen)].mean(axis=1).argmin()]), spent

    return _outcome(one(image) for image in errors)


def _outcome(found: Iterable[tuple[int, int]]) -> Outcome:
    predicted, predictions = zip(*found, strict=True)
    return Outcome(np.array(predicted), np.array(predictions))


def hits(outcome: Outcome, images: list[int], labels: dict[int, list[int]]) -> np.ndarray:
    """Which images are predicted right."""
    return correct(pd.Series(outcome.predicted, index=images), labels)
