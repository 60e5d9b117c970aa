"""How everything here is timed: arms take turns in rounds, so that whatever else the machine does meets all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from tqdm import trange

ROUNDS = 7

Row = dict[str, Any]


def wait() -> None:
    """Until the GPU, if there is one, has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    wait()
    began = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - began


def compare(benchmark: str, case: str, arms: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> list[Row]:
    """A row an arm beside the first one: median seconds, and the median over rounds of how many times as fast as the
    first it is, with the quartiles."""
    for run in arms.values():
        run()
    names = list(arms)
    times = []
    for number in trange(rounds, desc=f"{benchmark}, {case}", leave=False):
        order = names if number % 2 == 0 else names[::-1]  # nobody always goes first
        taken = {name: seconds(arms[name]) for name in order}
        times.append(taken)
    return [row(benchmark, case, name, names[0], times) for name in names]


def row(benchmark: str, case: str, arm: str, baseline: str, times: list[dict[str, float]]) -> Row:
    """One arm's figures from the seconds of every round."""
    ratios = [one[baseline] / one[arm] for one in times]
    low, median, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
    return {
        "benchmark": benchmark,
        "case": case,
        "arm": arm,
        "baseline": baseline,
        "seconds": statistics.median(one[arm] for one in times),
        "ratio": median,
        "low": low,
        "high": high,
        "rounds": len(times),
    }
