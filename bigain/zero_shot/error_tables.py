"""Tables of errors, which a classifier returns and takes in place of images: their rows, labels and leading classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bigain.classifier.classify import Trial
from bigain.core.messages import unknown
from bigain.metrics.calibration import paired_differences
from bigain.metrics.timestep_weights import WeightFunction, predicted
from bigain.metrics.trial_arrays import trial_arrays

COLUMNS = ["image", "class", "t", "stage", "error"]


def table_of(trials: Iterable[tuple[int, Trial]]) -> pd.DataFrame:
    """Return pairs (image's id or place, trial) as a table of errors, with the former as column `image`."""
    rows = [(image, trial.class_index, trial.t, trial.stage, trial.error) for image, trial in trials]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"error": np.float32})


def check_classes(errors: pd.DataFrame, names: Sequence[Any], all_evaluated: bool) -> None:
    """Raise ValueError for errors of classes beyond `names` and, if all were evaluated, for an image without some."""
    present = set(errors["class"]) if "class" in errors else set()
    if not present <= set(range(len(names))) or (all_evaluated and len(present) < len(names)):
        raise ValueError(f"errors of {len(present)} classes, and the classifier has {len(names)}")
    if not all_evaluated or "image" not in errors:
        return
    counts = errors.groupby("image")["class"].nunique()
    if (fewer := counts[counts < len(names)]).size:
        raise ValueError(f"image {fewer.index[0]} has errors of {fewer.iloc[0]} of {len(names)} classes")


def predicted_classes(errors: pd.DataFrame, weights: str | WeightFunction) -> np.ndarray:
    """Return the predicted class of every image [N], as its number; classes without errors are never predicted."""
    arrays = trial_arrays(errors)
    return np.array(arrays.classes)[predicted(arrays, weights)]


def label_indices(errors: pd.DataFrame, labels: Sequence[Any], names: Sequence[Any]) -> np.ndarray:
    """Return the place in `names` of every image's label [N].

    Raises ValueError for a label that is not in `names`, and unless there is one label per image.
    """
    images = errors["image"].nunique()
    places = {name: c for c, name in enumerate(names)}
    labels = list(labels)
    if len(labels) != images:
        raise ValueError(f"{len(labels)} labels for {images} images")
    for label in labels:
        if label not in places:
            raise ValueError(unknown("label", label, map(str, names)))
    return np.array([places[label] for label in labels])


def winner_and_rival(
    errors: pd.DataFrame, names: Sequence[Any], weights: str | WeightFunction, winner: Any, rival: Any
) -> tuple[int, int]:
    """Return the places in `names` of winner and rival; None stands for the best of the other classes on the image.

    Raises ValueError for a class that is not in `names`, and if both are the same.
    """
    named = [name for name in (winner, rival) if name is not None]
    for name in named:
        if name not in names:
            raise ValueError(unknown("class", name, map(str, names)))
    behind = paired_differences(trial_arrays(errors), weights)[0]
    ranked = [c for c in np.argsort(behind, kind="stable").tolist() if names[c] not in named]
    first = names.index(winner) if winner is not None else ranked.pop(0)
    second = names.index(rival) if rival is not None else ranked.pop(0)
    if first == second:
        raise ValueError(f"winner and rival are both {winner!r}")
    return first, second
