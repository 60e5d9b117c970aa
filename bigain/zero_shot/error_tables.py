"""Tables of errors, which a classifier returns and takes in place of images: their rows, labels and leading classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bigain.classifier.classify import Trial
from bigain.core.messages import unknown
from bigain.metrics.calibration import paired_differences
from bigain.metrics.timestep_weights import WeightFunction, class_indices
from bigain.metrics.trial_arrays import trial_arrays

COLUMNS = ["image", "class", "t", "stage", "error"]


def table_of(trials: Iterable[tuple[int, Trial]]) -> pd.DataFrame:
    """Return trials, each with what stands for its image in the column `image`, as a table of errors."""
    rows = [(image, trial.class_index, trial.t, trial.stage, trial.error) for image, trial in trials]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"error": np.float32})


def check_classes(errors: pd.DataFrame, names: Sequence[Any]) -> None:
    """Raise ValueError unless a table has errors of exactly the classes `names`."""
    present = sorted(set(errors["class"])) if "class" in errors else []
    if present != list(range(len(names))):
        raise ValueError(f"errors of {len(present)} classes, and the classifier has {len(names)}")


def label_indices(errors: pd.DataFrame, labels: Sequence[Any], names: Sequence[Any]) -> np.ndarray:
    """Return the place in `names` of every image's label [N].

    Raises ValueError for a label that is not in `names`, or another number of labels than images.
    """
    images = errors["image"].drop_duplicates().tolist()
    places = {name: c for c, name in enumerate(names)}
    labels = list(labels)
    if len(labels) != len(images):
        raise ValueError(f"{len(labels)} labels for {len(images)} images")
    for label in labels:
        if label not in places:
            raise ValueError(unknown("label", label, map(str, names)))
    by_image = dict(zip(images, (places[label] for label in labels), strict=True))
    return class_indices(trial_arrays(errors), by_image)


def winner_and_rival(
    errors: pd.DataFrame, names: Sequence[Any], weights: str | WeightFunction, winner: Any, rival: Any
) -> tuple[int, int]:
    """Return two classes of one image, as their places in `names`; for None, the best of the others by its errors.

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
