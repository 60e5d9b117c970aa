"""Score single timesteps: how often the errors at one t decide right, in all cells of a backbone and data set.

Only timesteps at which every image has an error of every class are scored. At the others, those of later stages, the
classes that survived were chosen by errors at earlier ones: they are listed, with how few classes were tried.
No torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from bigain.core.columns import described
from bigain.core.files import sha256
from bigain.core.provenance import InputFile, ResultError, checked, write_provenance
from bigain.core.records import write_table
from bigain.core.report_specs import TimestepsSpec
from bigain.core.rng import is_for_fitting
from bigain.core.validation import TRIALS, read_columns
from bigain.jobs.collect import read_metrics
from bigain.metrics.informative_timesteps import (
    DEGREE,
    FITS,
    TimestepHits,
    at_complete_timesteps,
    hits_at_timesteps,
    judge_weights,
)
from bigain.metrics.significance import paired
from bigain.metrics.timestep_weights import KNOTS, WEIGHTS

FEWEST_TIMESTEPS = max(KNOTS, DEGREE + 1)  # a fitted w(t) has as many parameters
UNCOMPRESSED = "none"
TIMESTEPS = pa.schema(
    [
        *((name, pa.string()) for name in ("backbone", "dataset", "method")),
        ("strength", pa.float64()),
        ("strength_kind", pa.string()),
        ("t", pa.int64()),
        ("weights", pa.string()),
        *((name, pa.int64()) for name in ("seeds", "classes", "tried", "images", "fitted_on")),
        *((name, pa.float64()) for name in ("accuracy", "low", "high", "chance")),
        *((name, pa.float64()) for name in ("difference", "difference_low", "difference_high", "p")),
        ("paired_images", pa.int64()),
        ("left_out", pa.string()),
    ]
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """A method at a strength, with the decisions of its cells: one for each seed."""

    columns: Row
    seeds: list[TimestepHits]

    @property
    def hits(self) -> pd.DataFrame:
        """Hits of each image at each timestep, averaged over seeds: images x timesteps that all seeds have."""
        frames = [pd.DataFrame(each.hits, each.images, each.timesteps, dtype=float) for each in self.seeds]
        return pd.concat(frames, join="inner").groupby(level=0).mean()

    def accuracies(self) -> pd.DataFrame:
        """Return Acc@1 by timestep; values and both ends of the intervals are averaged over seeds."""
        return pd.concat([each.accuracies() for each in self.seeds]).groupby("t").mean()

    def incomplete(self) -> dict[int, int]:
        """Return the timesteps that a seed lacks, each with the fewest classes that were tried there."""
        fewest: dict[int, int] = {}
        for each in self.seeds:
            for t, tried in each.incomplete.items():
                fewest[t] = min(tried, fewest.get(t, tried))
        return fewest


def score_timesteps(spec: TimestepsSpec, cells: Path, output: Path) -> None:
    """Write the accuracy at single timesteps, and of weights over them, of the cells below the folder `cells`.

    A row is a method and strength at a timestep, with the paired difference from the uncompressed model there; or, of
    the uncompressed model, weights over all timesteps that can be used, fitted on one half of the images and judged on
    the other. Raises ResultError for a file that is missing, damaged or of another spec than expected, and ValueError
    naming a cell whose errors cannot be compared.
    """
    arms: dict[tuple[str, float | None], Arm] = {}
    weights: list[Row] = []
    inputs: dict[str, InputFile] = {}
    for path, expected in spec["cells"]:
        file = cells / path / "metrics.json"
        scored = read_metrics(file, expected)
        inputs[path] = {"file": str(file), "spec": expected, "sha256": sha256(file)}
        trials = _trials(cells / path, scored)
        labels = dict(zip(scored["items"]["image"], scored["items"]["label"], strict=True))
        cell = scored["cell"]
        columns = {name: cell[name] for name in ("backbone", "dataset", "method", "strength", "strength_kind")}
        try:
            decided = hits_at_timesteps(trials, labels, len(scored["classes"]))
        except ValueError as error:
            raise ValueError(f"{cells / path}: {error}") from error
        arms.setdefault((cell["method"], cell["strength"]), Arm(columns, [])).seeds.append(decided)
        if cell["method"] == UNCOMPRESSED and not weights:
            weights = [columns | row for row in _weights(trials, labels, len(scored["classes"]))]
    uncompressed = arms.get((UNCOMPRESSED, None))
    rows = [row for arm in arms.values() for row in _by_timestep(arm, uncompressed)]
    table = pa.Table.from_pylist([*rows, *weights], TIMESTEPS)
    write_table(output, described(table, "timesteps"), spec)
    write_provenance(output, spec, inputs)


def _trials(folder: Path, scored: dict[str, Any]) -> pd.DataFrame:
    """Read the errors that a cell's metrics were computed from. Raises ResultError for a chunk that is another one."""
    parts = []
    for number, expected in enumerate(scored["spec"]["chunks"]):
        chunk = folder / f"chunk-{number}.parquet"
        if checked(chunk, expected)["sha256"] != scored["inputs"][chunk.stem]["sha256"]:
            raise ResultError(folder / "metrics.json", "outdated", f"was computed from another {chunk.name}")
        parts.append(read_columns(chunk, TRIALS).to_pandas())
    return pd.concat(parts, ignore_index=True)


def _by_timestep(arm: Arm, uncompressed: Arm | None) -> Iterator[Row]:
    """Yield an arm's rows of single timesteps, and of those that cannot be scored."""
    columns = arm.columns | {"seeds": len(arm.seeds), "classes": arm.seeds[0].classes}
    accuracies, incomplete = arm.accuracies(), arm.incomplete()
    is_compared = uncompressed is not None and uncompressed is not arm
    hits, others = arm.hits, uncompressed.hits if uncompressed is not None else pd.DataFrame()
    for t in sorted({*accuracies.index, *incomplete}):
        if t in incomplete:
            reason = f"for some image only {incomplete[t]} of {columns['classes']} classes were tried"
            yield columns | {"t": t, "tried": incomplete[t], "left_out": reason}
            continue
        scores = accuracies.loc[t, ["accuracy", "low", "high", "chance"]].to_dict()
        row = columns | {"t": t, "tried": columns["classes"], "images": int(accuracies.loc[t, "images"]), **scores}
        yield row | (_difference(hits[t], others[t]) if is_compared and t in others else {})


def _difference(ours: pd.Series, theirs: pd.Series) -> Row:
    """Return the difference of two methods' hits at a timestep, over the images that both have."""
    pairs = pd.concat([ours, theirs], axis=1, join="inner").to_numpy()
    if len(pairs) < 2:
        return {}
    difference = paired(pairs[:, 0] - pairs[:, 1])
    ends = {"difference_low": difference.low, "difference_high": difference.high}
    return {"difference": difference.value, **ends, "p": difference.p, "paired_images": difference.n}


def _weights(trials: pd.DataFrame, labels: dict[int, int], classes: int) -> Iterator[Row]:
    """Yield a row for each w(t): what it does on the images that none was fitted on, or why it was not judged."""
    usable = at_complete_timesteps(trials, classes)
    timesteps = usable["t"].nunique()
    columns = {"seeds": 1, "classes": classes, "tried": classes}
    try:
        if timesteps < FEWEST_TIMESTEPS:
            raise ValueError(f"all classes were tried at {timesteps} timesteps; {FEWEST_TIMESTEPS} are needed")
        judged = judge_weights(usable, labels, [image for image in labels if is_for_fitting(image)])
    except ValueError as error:
        for name in (*WEIGHTS, *(f"fitted, {name}" for name in FITS)):
            yield columns | {"weights": name, "left_out": str(error)}
        return
    chances = {"chance": 100 / classes}
    for row in judged.table.assign(paired_images=judged.table["images"]).to_dict("records"):
        yield columns | chances | {str(name): value for name, value in row.items()}
