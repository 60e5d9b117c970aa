"""The answer to "Where in t is the class?", by rule.

The class is where Acc@1 by the errors at a single timestep is more than half as far above chance as at the best
timestep, provided that the best is clearly above chance (its 95% interval excludes it). Differences between weights,
and between compressed and uncompressed models at a timestep, are significant if p < .05 after Holm's correction within
a backbone and data set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import pandas as pd

from bigain.core.rounding import rounded
from bigain.metrics.power import LEVEL
from bigain.metrics.significance import holm
from bigain.reporting.frames import records
from bigain.reporting.timestep_profiles import UNIFORM, CompressedArm, TimestepProfile

Row = dict[str, Any]
PLURALS = {"loss": "losses", "gain": "gains"}

NOT_RUN = (
    "Not run: accuracy at single timesteps needs images with one label each, timesteps that all images share, and "
    "every cell of a backbone and data set."
)


def answers(profiles: Sequence[TimestepProfile]) -> list[str]:
    """Return the answer for each backbone and data set in a few sentences; if there are none, that it was not run."""
    return [" ".join(_sentences(profile)) for profile in profiles] or [NOT_RUN]


def _sentences(profile: TimestepProfile) -> Iterator[str]:
    if len(profile.uncompressed):
        yield _where(profile)
    elif profile.has_uncompressed:
        yield f"On {profile.title}, the uncompressed model has no timestep at which all classes were tried."
    else:
        yield f"On {profile.title}, the study does not classify with the uncompressed model."
    if profile.left_out:
        yield _left_out(profile)
    if len(profile.weights):
        yield _weights(records(profile.weights))
    if compared := [arm for arm in profile.arms if arm.rows["p"].notna().any()]:
        yield _compression(compared)


def _where(profile: TimestepProfile) -> str:
    """Say at which timesteps the class is, where the accuracy is highest and lowest, and of how many images."""
    rows = records(profile.uncompressed)
    best, worst = (choose(rows, key=itemgetter("accuracy")) for choose in (max, min))
    seeds = f", {best['seeds']} seeds" if best["seeds"] > 1 else ""
    images, chance = f"{best['images']:.0f} images{seeds}", f"chance {best['chance']:.3g}%"
    if len(rows) == 1:
        where = f"all classes are compared at {_at(best)} alone"
        return f"On {profile.title}, {where}: Acc@1 is {_share(best)} ({images}, {chance})."
    of = f"{images}, {len(rows)} timesteps, {chance}"
    numbers = f"highest at {_at(best)}, {_share(best)}, and lowest at {_at(worst)}, {_share(worst)} ({of})"
    if best["low"] <= best["chance"]:
        return f"On {profile.title}, no single timestep is clearly above chance: Acc@1 is {numbers}."
    half = (best["accuracy"] + best["chance"]) / 2
    chosen = [row["t"] for row in rows if row["accuracy"] > half]
    where = ("all timesteps, " if len(chosen) == len(rows) else "") + ranges([row["t"] for row in rows], chosen)
    return f"On {profile.title}, the class is at {where}: Acc@1 by the errors at a single timestep is {numbers}."


def ranges(timesteps: Sequence[int], chosen: Sequence[int]) -> str:
    """Return in words which of the timesteps, rising, are chosen: neighbours as a range.

    >>> from bigain.reporting.timestep_answer import ranges
    >>> ranges([50, 150, 250, 350], [50, 150, 350])
    't = 50 to 150 and 350'
    """
    runs: list[list[int]] = []
    for place, t in enumerate(timesteps):
        if t in chosen:
            if runs and place and timesteps[place - 1] == runs[-1][-1]:
                runs[-1].append(t)
            else:
                runs.append([t])
    texts = [" to ".join(f"{t:g}" for t in dict.fromkeys((run[0], run[-1]))) for run in runs]
    return f"t = {' and '.join(', '.join(texts).rsplit(', ', 1))}"


def _left_out(profile: TimestepProfile) -> str:
    """Say which timesteps are left out, and how few classes were tried there."""
    decided = [rows["t"] for rows in (profile.uncompressed, *(arm.rows for arm in profile.arms))]
    everything = sorted({*profile.left_out, *(t for timesteps in decided for t in timesteps)})
    count, where = len(profile.left_out), ranges(everything, list(profile.left_out))
    return (
        f"{count} of {len(everything)} timesteps {'is' if count == 1 else 'are'} left out ({where}): as few as "
        f"{min(profile.left_out.values())} of {profile.classes} classes were tried there."
    )


def _weights(weights: list[Row]) -> str:
    """Say whether any weights differ from uniform ones on images that none was fitted on."""
    if pd.notna(reason := weights[0]["left_out"]):
        return f"Weights over t were not judged: {reason}."
    (uniform,) = (row for row in weights if row["weights"] == UNIFORM)
    others = [row for row in weights if row is not uniform]
    start = (
        f"On the {uniform['images']:.0f} images that no weights were fitted on, uniform weights over these timesteps "
        f"get {_share(uniform)} right"
    )
    significant = _significant(others)
    if not significant:
        largest = max(others, key=lambda row: abs(row["difference"]))
        most = f"largest difference: {largest['weights']}, {_change(largest)}"
        return f"{start}, and none of {len(others)} others differs significantly ({most})."
    listed = ", ".join(f"{row['weights']} ({_change(row)})" for row in significant)
    return f"{start}; of {len(others)} others, these differ significantly: {listed}."


def _compression(arms: Sequence[CompressedArm]) -> str:
    """Say at which timesteps compressed models are significantly less, or more, accurate."""
    rows = [row | {"arm": arm} for arm in arms for row in records(arm.rows) if pd.notna(row["p"])]
    significant = _significant(rows)
    worst = min(rows, key=itemgetter("difference"))
    extreme = "largest loss" if worst["difference"] < 0 else "no loss; smallest difference"
    largest = f"{extreme}: {worst['arm'].label} at {_at(worst)}, {_change(worst)}"
    comparisons = f"{len(rows)} comparison{'s' if len(rows) > 1 else ''} with compressed models at a timestep"
    if not significant:
        return f"Of {comparisons}, none is significant ({largest})."
    parts = []
    for noun, sign in (("loss", -1), ("gain", 1)):
        if chosen := [row["t"] for row in significant if sign * row["difference"] > 0]:
            where = ranges(sorted({row["t"] for row in rows}), chosen)
            kind = f"is a significant {noun}" if len(chosen) == 1 else f"are significant {PLURALS[noun]}"
            parts.append(f"{len(chosen)} {kind}, at {where}")
    return f"Of {comparisons}, {' and '.join(parts)} ({largest})."


def _significant(rows: list[Row]) -> list[Row]:
    """Return the rows whose difference is significant after Holm's correction over all of them."""
    return [row for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True) if p < LEVEL]


def _at(row: Row) -> str:
    return f"t = {row['t']:.0f}"


def _share(row: Row) -> str:
    accuracy, low, high = (rounded(row[name], 1) for name in ("accuracy", "low", "high"))
    return f"{accuracy}% [{low}, {high}]"


def _change(row: Row) -> str:
    keys = ("difference", "difference_low", "difference_high")
    difference, low, high = (rounded(row[key], 1, signed=True) for key in keys)
    return f"{difference} points [{low}, {high}]"
