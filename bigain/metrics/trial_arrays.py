"""The errors of a run as arrays: images x classes x trials, with NaN where a class was eliminated before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class TrialArrays:
    """`errors` [N, K, M] of N images, K classes and M trials by stage and t, and the timesteps `t` [N, M] of 1,000.

    NaN where a class, or (in `t`) an image, has no such trial. `images` are in the run's order, `classes` rising.
    """

    images: list[int]
    classes: list[int]
    t: np.ndarray
    errors: np.ndarray

    @property
    def evaluated(self) -> np.ndarray:
        """Return which trials there are: bool [N, K, M]."""
        return ~np.isnan(self.errors)

    @property
    def finalists(self) -> np.ndarray:
        """Return which classes reached the last stage of their image, so that no trial is missing: bool [N, K]."""
        return (self.evaluated | np.isnan(self.t)[:, None]).all(axis=2)


def trial_arrays(trials: pd.DataFrame) -> TrialArrays:
    """Return the trials of a run (columns image, class, t, stage, error) as arrays.

    Raises ValueError naming a column that is missing, a trial that occurs twice, or an error that is not finite.
    """
    missing = {"image", "class", "t", "stage", "error"} - set(trials.columns)
    if missing or trials.empty:
        absent = ", ".join(sorted(missing)) or "all rows"
        raise ValueError(f"errors need the columns image, class, t, stage and error; {absent} missing")
    if not np.isfinite(trials["error"]).all():
        raise ValueError("errors hold a number that is not finite")
    places = trials[["image", "stage", "t"]].drop_duplicates().sort_values(["image", "stage", "t"])
    places["place"] = places.groupby("image").cumcount()
    table = trials.merge(places, on=["image", "stage", "t"], how="left")  # in the order of `trials`
    image, images = pd.factorize(table["image"])
    label, classes = pd.factorize(table["class"], sort=True)
    place = table["place"].to_numpy()
    if table.duplicated(["image", "class", "place"]).any():
        twice = table[table.duplicated(["image", "class", "place"])].iloc[0]
        raise ValueError(f"image {twice.image:g}, class {twice['class']:g}, t {twice.t:g} occurs twice in the errors")
    shape = len(images), len(classes), int(place.max()) + 1
    errors, t = np.full(shape, np.nan), np.full((shape[0], shape[2]), np.nan)
    errors[image, label, place] = table["error"]
    t[image, place] = table["t"]
    return TrialArrays(images.tolist(), classes.tolist(), t, errors)
