"""Tables of errors, which a classifier returns and takes in place of images: their rows, labels and leading classes."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bigain.classifier.classify import Trial
from bigain.core.messages import unknown
from bigain.metrics.calibration import paired_differences
from bigain.metrics.timestep_weights import WeightFunction, predicted
from bigain.metrics.trial_arrays import trial_arrays
from bigain.zero_shot.candidates import plain

COLUMNS = ["image", "class", "t", "stage", "error"]


def table_of(trials: Iterable[tuple[int, Trial]]) -> pd.DataFrame:
    """Return pairs (image's id or place, trial) as a table of errors, with the former as column `image`."""
    rows = [(image, trial.class_index, trial.t, trial.stage, trial.error) for image, trial in trials]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"error": np.float32})


def check_table(errors: pd.DataFrame, names: Sequence[Any], all_evaluated: bool) -> None:
    """Raise ValueError for a table that is not of these classes or whose images are not in rising order.

    Results have an entry per image, in rising order, so they would be matched to the wrong images if the rows were in
    another order. All columns but the errors hold whole numbers. Classes are places in `names`; with `all_evaluated`,
    every image needs errors of all classes.
    """
    _check_columns(errors)
    present = set(errors["class"])
    if beyond := sorted(present - set(range(len(names)))):
        raise ValueError(f"errors of class {beyond[0]}, and the classifier has classes 0 to {len(names) - 1}")
    if all_evaluated and len(present) < len(names):
        raise ValueError(f"errors of {len(present)} classes, and the classifier has {len(names)}")
    images = errors["image"].unique()
    if (falling := np.flatnonzero(images[1:] < images[:-1])).size:
        first, second = images[falling[0]], images[falling[0] + 1]
        raise ValueError(
            f"errors of image {second} begin after those of image {first}: sort them by image, as in "
            "errors.sort_values('image', kind='stable'); predictions and labels are then in that order"
        )
    counts = errors.groupby("image")["class"].nunique()
    if all_evaluated and (fewer := counts[counts < len(names)]).size:
        raise ValueError(f"image {fewer.index[0]} has errors of {fewer.iloc[0]} of {len(names)} classes")


def _check_columns(errors: pd.DataFrame) -> None:
    missing = [name for name in COLUMNS if name not in errors]
    if missing or errors.empty:
        absent = ", ".join(missing) or "all rows"
        raise ValueError(f"errors need the columns {', '.join(COLUMNS)}; {absent} missing")
    for name in COLUMNS:
        is_number = pd.api.types.is_numeric_dtype if name == "error" else pd.api.types.is_integer_dtype
        if not is_number(errors[name]):
            kind = "numbers" if name == "error" else "whole numbers"
            raise ValueError(f"column {name!r} of the errors is {errors[name].dtype}, and has to be {kind}")


def predicted_classes(errors: pd.DataFrame, weights: str | WeightFunction) -> np.ndarray:
    """Return the predicted class of every image [N], as its number; classes without errors are never predicted."""
    arrays = trial_arrays(errors)
    return np.array(arrays.classes)[predicted(arrays, weights)]


def label_indices(labels: Iterable[Any], images: int, names: Sequence[Any]) -> np.ndarray:
    """Return the place in `names` of every image's label [N].

    Raises TypeError for a single label; ValueError for a label that is not in `names`, and unless there is one label
    per image.
    """
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise TypeError(f"labels are {labels!r}; pass a list with the class of every image")
    places = {name: c for c, name in enumerate(names)}
    listed = plain(labels)
    if len(listed) != images:
        raise ValueError(f"{len(listed)} labels for {images} images")
    for label in listed:
        if not isinstance(label, Hashable) or label not in places:
            raise ValueError(unknown("label", label, map(str, names)))
    return np.array([places[label] for label in listed])


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
