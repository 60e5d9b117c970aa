"""The leaderboard as a figure: paired differences of accuracy from the uncompressed model, by budget of operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from bigain.core.columns import csv_text
from bigain.core.files import write_text
from bigain.reporting import style
from bigain.reporting.leaderboard import RIVAL, Entry, Leaderboard, build
from bigain.reporting.numbers import Value
from bigain.reporting.scores import Scores
from bigain.reporting.tables import arm_columns

ROW, MARGIN = 0.17, 0.9  # inches per method, and above and below all of them
WIDTH = 4.6  # inches per backbone and data set


def write_forest(
    results: pd.DataFrame, scores: Scores, measured: pd.DataFrame, pdf: Path, png: Path, csv: Path
) -> None:
    """Write a forest plot per backbone and data set with classified cells; its bars are also written as CSV."""
    boards = [board for board in build(results, scores, measured) if board.metric == "acc@1"]
    drawn = [(board, [(b, _bars(entries)) for b, entries in board.by_budget() if _bars(entries)]) for board in boards]
    drawn = [(board, budgets) for board, budgets in drawn if budgets]
    bars = (bar for _, budgets in drawn for _, in_budget in budgets for bar in in_budget)
    write_text(csv, csv_text("forest", (_csv_row(entry) for entry in bars)))
    if not drawn:
        style.save(style.message("This study compares no accuracies with an uncompressed model's."), pdf, png)
        return
    rows = max(sum(len(entries) + 1 for _, entries in budgets) for _, budgets in drawn)
    with style.look():
        figure, axes = plt.subplots(
            1, len(drawn), figsize=(WIDTH * len(drawn), MARGIN + ROW * rows), squeeze=False, sharex=True
        )
        for axis, (board, budgets) in zip(axes[0], drawn, strict=True):
            _panel(axis, board, budgets, rows)
        figure.tight_layout()
        style.save(figure, pdf, png)


def _bars(entries: list[Entry]) -> list[Entry]:
    """Return the entries that are compared with the uncompressed model."""
    return [entry for entry in entries if _change(entry).value is not None]


def _change(entry: Entry) -> Value:
    return (entry.over or {}).get("none", Value(None))


def _csv_row(entry: Entry) -> dict[str, Any]:
    change = _change(entry)
    place = {"backbone": entry.backbone, "dataset": entry.dataset, "budget": entry.budget}
    interval = {"change": change.value, "low": change.low, "high": change.high}
    return place | arm_columns(entry.method, entry.strength) | interval


def _panel(axis: plt.Axes, board: Leaderboard, budgets: list[tuple[str, list[Entry]]], rows: int) -> None:
    """Draw a board: a row per method, a heading per budget, and ToMe's change as a line through its budget."""
    row, labels = 0, list[tuple[int, str]]()
    for budget, entries in budgets:
        axis.text(0.01, row, budget, transform=axis.get_yaxis_transform(), va="center", style="italic", color="#555555")
        first = row + 1
        for row, entry in enumerate(entries, first):
            _bar(axis, row, entry)
            labels.append((row, f"{style.label(entry.method)}  {entry.strength_label}"))
        rival = next((_change(entry).value for entry in entries if entry.method == RIVAL), None)
        if rival is not None:
            axis.plot([rival, rival], [first - 0.4, row + 0.4], color=style.colour(RIVAL), lw=0.8, ls=":", zorder=0)
        row += 1
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks([place for place, _ in labels], [text for _, text in labels], fontsize=7)
    axis.set_ylim(rows - 0.4, -0.8)
    axis.set_xlabel("change of Acc@1 in points")
    axis.set_title(f"{board.backbone}, {board.dataset}", loc="left")
    axis.grid(axis="x", color="#e5e5e5", lw=0.6)
    axis.set_axisbelow(True)


def _bar(axis: plt.Axes, row: int, entry: Entry) -> None:
    """Draw a method's change with its interval; filled where the interval excludes 0."""
    change, colour = _change(entry), style.colour(entry.method)
    assert change.value is not None
    assert change.low is not None
    assert change.high is not None
    errors = [[change.value - change.low], [change.high - change.value]]
    is_clear = change.high < 0 or change.low > 0
    axis.errorbar(
        change.value,
        row,
        xerr=errors,
        fmt=style.marker(entry.method),
        color=colour,
        ms=4.5,
        elinewidth=1.1,
        markerfacecolor=colour if is_clear else "white",
    )
