"""Probes of Theorem 1: the paired class differences of a model in frequency bands, under every method."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bigain.core.records import embedded_spec, read_table
from bigain.methods.ids import method_of
from bigain.metrics.significance import Difference
from bigain.metrics.spectral import Moments, Response, moments, outside, respond
from bigain.reporting import names
from bigain.reporting.frames import CellMetric, optional
from bigain.reporting.scores import Scores


@dataclass(frozen=True)
class Arm:
    """A method at a strength: its effect on the bands, and on the study's accuracy (None if that was not run)."""

    method: str
    strength: float
    response: Response
    accuracy: Difference | None

    @property
    def accuracy_moved(self) -> str:
        """`rises` or `falls` if the interval excludes zero, else `not significant`; `not run` without cells."""
        if self.accuracy is None:
            return "not run"
        if self.accuracy.low > 0:
            return "rises"
        return "falls" if self.accuracy.high < 0 else "not significant"

    @property
    def agrees(self) -> str:
        """Return whether the criterion predicted a significant change of accuracy: `yes` or `no`."""
        if self.accuracy_moved in ("not significant", "not run"):
            return self.accuracy_moved
        return "yes" if self.response.predicts == (self.accuracy_moved == "rises") else "no"

    @property
    def strength_label(self) -> str:
        """The strength, for print."""
        return names.strength(method_of(self.method).strength_kind, self.strength)


def bands_outside(low: np.ndarray, high: np.ndarray) -> str:
    """List the bands whose response is clearly outside of the range 0 to 1 that Theorem 1 assumes, for print."""
    places = outside(low, high)
    lists = {place: [str(k) for k, name in enumerate(places) if name == place] for place in ("above 1", "below 0")}
    return "; ".join(f"{place}: {', '.join(bands)}" for place, bands in lists.items() if bands)


@dataclass(frozen=True)
class Probe:
    """A probed backbone and data set: the uncompressed model's moments, and every method at every strength."""

    backbone: str
    dataset: str
    images: int
    draws: int
    full: Moments
    arms: list[Arm]

    @property
    def title(self) -> str:
        """Backbone and data set, for print."""
        return f"{self.backbone}, {self.dataset}"

    @property
    def covariance(self) -> float:
        """1 - sum sigma_k^2 / sigma^2: the part of sigma^2 that the weak-correlation approximation neglects."""
        return 1 - float(self.full.variance_k.sum()) / self.full.variance


def read_probe(file: Path, scores: Scores) -> Probe:
    """Read a probe's paired differences and join them with the accuracies of the study's cells.

    Raises ValueError naming the file if it does not start with the uncompressed model or holds numbers that are not
    finite.
    """
    spec, frame = embedded_spec(file), read_table(file).to_pandas()
    bands = [f"band_{k}" for k in range(spec["bands"])]
    if not np.isfinite(frame[bands].to_numpy()).all():
        raise ValueError(f"{file}: a paired difference is not finite")
    images = frame["image"].nunique()
    differences = {
        (str(method), optional(strength)): rows[bands].to_numpy().reshape(images, -1, len(bands))
        for (method, strength), rows in frame.groupby(["method", "strength"], sort=False, dropna=False)
    }
    if next(iter(differences)) != ("none", None):
        raise ValueError(f"{file}: its first arm has to be the uncompressed model")
    before = differences.pop(("none", None))
    uncompressed = CellMetric("acc@1", spec["backbone"]["id"], spec["dataset"]["id"], "none", None)
    arms = []
    for (method, strength), after in differences.items():
        if strength is None:
            raise ValueError(f"{file}: {method} has no strength")
        response = respond(before, after, spec["seed"])
        cell = uncompressed._replace(method=method, strength=strength)
        accuracy = scores.improvement(cell, uncompressed) if scores.comparable(cell, uncompressed) else None
        arms.append(Arm(method, strength, response, accuracy))
    return Probe(uncompressed.backbone, uncompressed.dataset, images, before.shape[1], moments(before), arms)
