"""The results of a GPU run as a Markdown page, and as the short table that is printed last."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from bench.gpu.stages import STAGES, Stage
from bench.rounds import Row

T = TypeVar("T")

Results = dict[str, Any]  # of JSON: "about", and outcomes by stage under "stages"


def page(results: Results, stages: Sequence[Stage] = STAGES) -> str:
    """Return all stages' outcomes and rows as Markdown."""
    about, outcomes = results["about"], results["stages"]
    kind = " A rehearsal on a CPU at tiny sizes: its figures mean nothing." if about["rehearsal"] else ""
    lines = [f"# {about['device']}", "", f"Written by `python -m bench.gpu`, torch {about['torch']}.{kind}"]
    lines += ["A ratio is how many times as fast as the baseline, the median over rounds with its quartiles.", ""]
    lines += ["| stage | outcome | seconds | |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(part.replace('|', '/') for part in line)} |" for line in _summary(outcomes, stages)]
    lines.append("")
    for stage in stages:
        outcome = outcomes.get(stage.name)
        if outcome is None:
            continue
        lines += [f"## {stage.name}", "", stage.question, ""]
        lines += [f"{outcome['state']}: {outcome['message']}", ""] if outcome["message"] else []
        lines += [stage.bound, ""] if stage.bound and outcome["rows"] else []
        lines += _shown(stage.table, outcome["rows"], ["no table"]) if outcome["rows"] else []
    return "\n".join(lines).rstrip() + "\n"


def short_table(results: Results, stages: Sequence[Stage] = STAGES) -> str:
    """Return a line per stage in columns: its outcome, seconds, and what it found or why not."""
    rows = [("stage", "outcome", "seconds", ""), *_summary(results["stages"], stages)]
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    return "\n".join(
        f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}".rstrip() for row in rows
    )


def _shown(show: Callable[[list[Row]], T], rows: list[Row], otherwise: T) -> T:
    """Return rows as `show` renders them, or `otherwise` if they lack its columns: a page never fails on its rows."""
    try:
        return show(rows)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError):
        traceback.print_exc()
        return otherwise


def _summary(outcomes: dict[str, Any], stages: Iterable[Stage]) -> list[tuple[str, str, str, str]]:
    rows = []
    for stage in stages:
        outcome = outcomes.get(stage.name)
        if outcome is not None:
            parts = [
                outcome["message"],
                _shown(stage.headline, outcome["rows"], "no headline") if outcome["rows"] else "",
            ]
            told = "; ".join(part for part in parts if part)
            rows.append((stage.name, outcome["state"], f"{outcome['seconds']:.0f}", told))
    return rows
