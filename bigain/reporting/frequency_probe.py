"""Margins to the hardest wrong class: the part of a difference that r explains, and weights of the error's parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bigain.core.records import embedded_spec, read_table
from bigain.metrics.margins import HeldOutWeights, certainty, held_out_weights, mean_r, responses
from bigain.metrics.mediation import Explained, mediate
from bigain.reporting.frames import CellMetric, optional
from bigain.reporting.frequency_cells import LOWEST, RULES
from bigain.reporting.scores import Scores

FEWEST = 20  # images, half of which are for fitting and half for judging
PAIRS = (*((LOWEST, other) for other in RULES if other != LOWEST), ("bigain_td", "todo"), ("bigain_td", "avg_pool"))
UNCOMPRESSED = ("none", None)
ProbedArm = tuple[str, float | None]


@dataclass(frozen=True)
class Margins:
    """Margins of a probed backbone and data set: of every arm to the hardest wrong class, [n, T, J, K] of n images, T
    timesteps, J noises and K bands, and of the uncompressed model to all wrong classes, [n, T, J, W, K]."""

    backbone: str
    dataset: str
    seed: int
    images: np.ndarray
    timesteps: np.ndarray
    arms: dict[ProbedArm, np.ndarray]
    to_all: np.ndarray

    @property
    def title(self) -> str:
        """Backbone and data set, for print."""
        return f"{self.backbone}, {self.dataset}"

    def cell(self, arm: ProbedArm) -> CellMetric:
        """Return the accuracy of an arm in the study."""
        return CellMetric("acc@1", self.backbone, self.dataset, *arm)

    def right(self) -> float:
        """Return the share of images whose margin to the hardest wrong class is positive without compression."""
        return float((self.arms[UNCOMPRESSED].sum(axis=-1).mean(axis=(1, 2)) > 0).mean())


@dataclass(frozen=True)
class Mediated:
    """The part of the difference in accuracy between two arms that the change of r explains, on the probed images."""

    ours: ProbedArm
    theirs: ProbedArm
    explained: Explained


@dataclass(frozen=True)
class Responded:
    """An arm's mean r, and the fraction H_P(k) of each band's margin that it keeps, with its interval."""

    arm: ProbedArm
    r: float
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def read_margins(file: Path) -> Margins:
    """Read measured margins.

    Raises ValueError naming the file if it does not start with the uncompressed model, lacks a row or holds numbers
    that are not finite.
    """
    spec, frame = embedded_spec(file), read_table(file).to_pandas()
    bands = [f"band_{k}" for k in range(spec["bands"])]
    if not np.isfinite(frame[bands].to_numpy()).all():
        raise ValueError(f"{file}: a margin is not finite")
    if frame["method"].iloc[0] != "none":
        raise ValueError(f"{file}: its first arm has to be the uncompressed model")
    images, timesteps = (frame[name].drop_duplicates().to_numpy() for name in ("image", "t"))
    frame = frame.sort_values(["t", "noise", "wrong"], kind="stable")
    frame["image"] = pd.Categorical(frame["image"], categories=images)
    frame = frame.sort_values("image", kind="stable")
    shape = (len(images), len(timesteps), spec["noises"])
    arms: dict[ProbedArm, np.ndarray] = {}
    try:
        for (method, strength), rows in frame.groupby(["method", "strength"], sort=False, dropna=False):
            arms[str(method), optional(strength)] = rows.loc[rows["hardest"], bands].to_numpy().reshape(*shape, -1)
        every = frame.loc[frame["method"] == "none", bands].to_numpy().reshape(*shape, -1, len(bands))
    except ValueError as error:
        raise ValueError(f"{file}: an arm does not have {' x '.join(map(str, shape))} margins") from error
    place = spec["backbone"]["id"], spec["dataset"]["id"]
    return Margins(*place, spec["seed"], images, np.sort(timesteps), arms, every)


def mediations(margins: Margins, scores: Scores) -> list[Mediated]:
    """Return the parts of differences that the change of r explains: between destinations, between downsamplings, and
    between every method and no compression.

    Pairs whose cells the study lacks, or that share too few probed images, are left out.
    """
    explained = []
    for ours, theirs in _pairs(margins):
        cells = margins.cell(ours), margins.cell(theirs)
        if not all(cell in scores.images for cell in cells):
            continue
        hits = [scores.images[cell].reindex(margins.images).to_numpy() for cell in cells]
        known = np.isfinite(hits[0]) & np.isfinite(hits[1])
        if known.sum() < FEWEST:
            continue
        summed = [margins.arms[arm][known].sum(axis=-1) for arm in (ours, theirs)]
        change, even, odd = (
            certainty(summed[0][:, places]) - certainty(summed[1][:, places])
            for places in (slice(None), slice(0, None, 2), slice(1, None, 2))
        )
        difference = (hits[0] - hits[1])[known]
        explained.append(Mediated(ours, theirs, mediate(difference, change, (even, odd), margins.seed)))
    return explained


def _pairs(margins: Margins) -> Iterator[tuple[ProbedArm, ProbedArm]]:
    """Yield the pairs of arms that are compared, at equal strengths."""
    for method, other in PAIRS:
        for ours in margins.arms:
            theirs = (other, ours[1])
            if ours[0] == method and theirs in margins.arms:
                yield ours, theirs
    for arm in margins.arms:
        if arm != UNCOMPRESSED:
            yield arm, UNCOMPRESSED


def fitted_weights(margins: Margins) -> dict[str, HeldOutWeights]:
    """Return weights of bands and of timesteps, fitted to the uncompressed model's margins to all wrong classes.

    Returns none for fewer than `FEWEST` images.
    """
    if len(margins.images) < FEWEST:
        return {}
    by_noise = np.moveaxis(margins.to_all, 2, 1)  # [n, J, T, W, K]
    over_bands, over_timesteps = by_noise.mean(axis=2), np.moveaxis(by_noise.sum(axis=-1), 2, -1)
    return {
        "bands": held_out_weights(over_bands, margins.seed),
        "timesteps": held_out_weights(over_timesteps, margins.seed),
    }


def band_responses(margins: Margins) -> list[Responded]:
    """Return the mean r of every arm, and its response in every band, on margins to the hardest wrong class."""
    before = margins.arms[UNCOMPRESSED].mean(axis=(1, 2))
    return [
        Responded(arm, mean_r(values.sum(axis=-1)), *responses(before, values.mean(axis=(1, 2)), margins.seed))
        for arm, values in margins.arms.items()
    ]
