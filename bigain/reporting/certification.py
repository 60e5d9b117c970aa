"""Certify a z of elimination on held-out images, by replaying it on runs that store every class at every trial.

A split keyed by the image chooses the calibration images, about half of a run's. The z of `ZS` are tested on these from
the most cautious, and a z is certified if the test of every run succeeds. Agreement is also reported on the other
images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bigain.classifier.elimination import Elimination
from bigain.core.files import write_json, write_text
from bigain.core.provenance import digest
from bigain.core.records import embedded_spec
from bigain.core.report_specs import Agreement, CertifiedCell, EliminationCertificate
from bigain.core.rng import seed_for
from bigain.core.validation import TRIALS, read_columns
from bigain.metrics.certification import fixed_sequence, tail, upper_bound
from bigain.metrics.replay import by_elimination, full_errors, in_full
from bigain.reporting.elimination import ZS, run_title


@dataclass(frozen=True)
class Replays:
    """The replays of a run: at every z of `ZS`, the images decided differently than in full, and the cost."""

    spec: Mapping[str, Any]
    calibration: np.ndarray  # which images are for calibration [images], bool
    disagreements: np.ndarray  # [z, images], bool
    predictions: np.ndarray  # noise predictions [z, images]
    classes: int
    trials: int

    def agreement(self, number: int, images: np.ndarray) -> Agreement:
        """Return the agreement of the z of this number with the full evaluation, on some images."""
        count = int(images.sum())
        return {
            "images": count,
            "disagreements": int(self.disagreements[number, images].sum()),
            "predictions": float(self.predictions[number, images].mean()) if count else 0.0,
        }

    def certified(self, number: int) -> CertifiedCell:
        """Return the run's entry in a certificate of the z of this number."""
        return {
            **self.agreement(number, self.calibration),
            "backbone": self.spec["backbone"]["id"],
            "dataset": self.spec["dataset"]["id"],
            "method": self.spec["method"],
            "strength": self.spec["strength"],
            "seed": self.spec["seed"],
            "run": digest(self.spec),
            "full_predictions": self.classes * self.trials,
            "others": self.agreement(number, ~self.calibration),
        }


def replayed(run: Path, every: int) -> Replays:
    """Replay elimination at every z of `ZS`. Raises ValueError naming a run that has stages."""
    try:
        errors, images, _ = full_errors(read_columns(run, TRIALS).to_pandas())
    except ValueError as error:
        raise ValueError(f"{run}: {error}") from error
    full, outcomes = in_full(errors), [by_elimination(errors, Elimination(z, every)) for z in ZS]
    return Replays(
        spec=embedded_spec(run),
        calibration=np.array([for_calibration(image) for image in images]),
        disagreements=np.array([outcome.predicted != full.predicted for outcome in outcomes]),
        predictions=np.array([outcome.predictions for outcome in outcomes]),
        classes=errors.shape[1],
        trials=errors.shape[2],
    )


def for_calibration(image: int) -> bool:
    """Return whether an image is for calibration: half of all images are, the same ones in every run."""
    return seed_for(0, "elimination", image) % 2 == 0


@dataclass(frozen=True)
class Calibration:
    """A row for every run, z and part of the images, and the certificate of the least cautious z that is certified.

    `smallest_rate` is the rate that the run with the fewest calibration images would certify without a disagreement.
    """

    table: pd.DataFrame
    certificate: EliminationCertificate | None
    smallest_rate: float

    def write(self, output: Path) -> None:
        """Write the certificate, if there is one, and the table as CSV beside it."""
        csv = self.table.to_csv(index=False, float_format="%.3f", lineterminator="\n")
        write_text(output.with_suffix(".csv"), csv)
        if self.certificate is not None:
            write_json(output, self.certificate)


def calibrate(runs: list[Path], every: int, rate: float, delta: float) -> Calibration:
    """Test "the rate of disagreement with the full evaluation is above `rate`" at error level `delta`, for every z.

    A z is certified if this is rejected for every run. Since each run is tested at the full level, the chance of
    certifying a z that is above the rate on any of them is at most `delta`.

    Raises ValueError naming a run that has stages, runs of different numbers of trials, or a rate or level that is not
    between 0 and 1.
    """
    for name, value in (("rate", rate), ("delta", delta)):
        if not 0 < value < 1:
            raise ValueError(f"{name}: {value:g} is not allowed; must be above 0 and below 1")
    replays = [replayed(run, every) for run in runs]
    if len(trials := {replay.trials for replay in replays}) > 1:
        numbers = " and ".join(map(str, sorted(trials)))
        raise ValueError(f"the runs have {numbers} trials, and a certificate is for a single number of trials")
    count = fixed_sequence((_p_value(replays, number, rate) for number in range(len(ZS))), delta)
    certificate: EliminationCertificate | None = None
    if count > 0:
        certificate = {
            "z": ZS[count - 1],
            "every": every,
            "trials": replays[0].trials,
            "rate": rate,
            "confidence": 1 - delta,
            "cells": [replay.certified(count - 1) for replay in replays],
        }
    rows = [
        row | {"every": every, "certified": number < count}
        for replay in replays
        for number in range(len(ZS))
        for row in _rows(replay, number, delta)
    ]
    fewest = min(int(replay.calibration.sum()) for replay in replays)
    return Calibration(pd.DataFrame(rows), certificate, upper_bound(0, fewest, delta))


def _p_value(replays: list[Replays], number: int, rate: float) -> float:
    """Return the p-value of "the z of this number is above the rate on some run": the largest of the runs' p-values."""
    agreements = [replay.agreement(number, replay.calibration) for replay in replays]
    return max(tail(agreement["disagreements"], agreement["images"], rate) for agreement in agreements)


def _rows(replay: Replays, number: int, delta: float) -> Iterator[dict[str, Any]]:
    """Yield the rows of a run and z; `bound_percent` bounds the rate of that row alone, at error level `delta`."""
    for part, images in (("calibration", replay.calibration), ("others", ~replay.calibration)):
        agreement = replay.agreement(number, images)
        bound = upper_bound(agreement["disagreements"], agreement["images"], delta)
        yield {"run": run_title(replay.spec), "z": ZS[number], "part": part, **agreement, "bound_percent": 100 * bound}
