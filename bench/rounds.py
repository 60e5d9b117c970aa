"""Timing: the arms of a benchmark take turns in rounds, so that other load on the machine affects all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from tqdm import trange

from bench.messages import in_a_line

ROUNDS = 7

Row = dict[str, Any]


def wait() -> None:
    """Wait until the GPU, if there is one, is idle."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(run: Callable[[], object]) -> float:
    """Return the wall time of a call."""
    wait()
    began = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - began


def compare(benchmark: str, case: str, arms: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> list[Row]:
    """Time arms in rounds; return a row per arm with its median seconds and its speed-up over the first arm: the median
    and quartiles over rounds."""
    for run in arms.values():
        run()
    names = list(arms)
    times = []
    for number in trange(rounds, desc=f"{benchmark}, {case}", leave=False):
        order = names if number % 2 == 0 else names[::-1]  # no arm always goes first
        taken = {name: seconds(arms[name]) for name in order}
        times.append(taken)
    return [row(benchmark, case, name, names[0], times) for name in names]


def runnable(
    benchmark: str, case: str, arms: Mapping[str, Callable[[], Callable[[], object]]]
) -> tuple[dict[str, Callable[[], object]], list[Row]]:
    """Build arms and run each once; return those that ran, and a row that says why for each that did not.

    Raises the error of the first arm, the baseline.
    """
    ran: dict[str, Callable[[], object]] = {}
    notes: list[Row] = []
    for name, build in arms.items():
        try:
            run = build()
            run()
            wait()
        except Exception as error:
            if not ran:
                raise
            notes.append({"benchmark": benchmark, "case": case, "arm": name, "note": in_a_line(error)})
        else:
            ran[name] = run
    return ran, notes


def row(benchmark: str, case: str, arm: str, baseline: str, times: list[dict[str, float]]) -> Row:
    """Return an arm's figures from the seconds of each arm in every round."""
    ratios = [seconds[baseline] / seconds[arm] for seconds in times]
    low, median, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
    return {
        "benchmark": benchmark,
        "case": case,
        "arm": arm,
        "baseline": baseline,
        "seconds": statistics.median(seconds[arm] for seconds in times),
        "ratio": median,
        "low": low,
        "high": high,
        "rounds": len(times),
    }
