"""Tables of trials, as a study or `DiffusionClassifier.errors` stores them, made of arrays of errors."""

from __future__ import annotations

import numpy as np
import pandas as pd


def run(errors: np.ndarray, stage_of_trial: list[int], survivors: dict[int, list[list[int]]], t=None) -> pd.DataFrame:
    """Trials of errors [N, K, M] of which a class has those of the stages it survived to."""
    rows = [
        (image, label, (t or range(25, 1000, 50))[m], stage_of_trial[m], errors[image, label, m])
        for image in range(len(errors))
        for m in range(errors.shape[2])
        for label in survivors[stage_of_trial[m]][image]
    ]
    return pd.DataFrame(rows, columns=["image", "class", "t", "stage", "error"])


def complete(errors: np.ndarray, t=None) -> pd.DataFrame:
    """Trials of a run without elimination."""
    images, classes, trials = errors.shape
    return run(errors, [0] * trials, {0: [list(range(classes))] * images}, t)
