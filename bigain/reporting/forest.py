"""The leaderboard as a figure: paired differences of accuracy from the uncompressed model, by budget of operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import pandas as pd

from bigain.core.columns import csv_text
from bigain.core.files import write_text
from bigain.reporting import style
from bigain.reporting.leaderboard import RIVAL, Entry, Leaderboard, build, change_from_uncompressed
from bigain.reporting.numbers import Value
from bigain.reporting.scores import Scores
from bigain.reporting.tables import arm_columns

ROW, MARGIN = 0.17, 0.9  # inches per method, and above and below all of them
WIDTH = 4.6  # inches per backbone and data set
COLUMNS = 2  # panels side by side, so that their text can be read in a page's width


class Bar(NamedTuple):
    """An entry and its accuracy minus the uncompressed model's."""

    entry: Entry
    change: Value


Budgets = list[tuple[str, list[Bar]]]


def write_forest(
    results: pd.DataFrame, scores: Scores, measured: pd.DataFrame, pdf: Path, png: Path, csv: Path
) -> None:
    """Write a forest plot per backbone and data set with classified cells; its bars are also written as CSV."""
    boards = [(board, _budgets(board, scores)) for board in build(results, measured) if board.metric == "acc@1"]
    drawn = [(board, budgets) for board, budgets in boards if budgets]
    bars = (bar for _, budgets in drawn for _, in_budget in budgets for bar in in_budget)
    write_text(csv, csv_text("forest", map(_csv_row, bars)))
    if not drawn:
        style.save(style.message("This study compares no accuracies with an uncompressed model's."), pdf, png)
        return
    with style.look():
        style.save(_figure(drawn), pdf, png)


def _budgets(board: Leaderboard, scores: Scores) -> Budgets:
    """Return the budgets of a board with the entries that can be compared with the uncompressed model."""
    budgets = []
    for budget, entries in board.by_budget():
        bars = [Bar(entry, change_from_uncompressed(scores, board.metric, entry)) for entry in entries]
        if shown := [bar for bar in bars if bar.change.value is not None]:
            budgets.append((budget, shown))
    return budgets


def _csv_row(bar: Bar) -> dict[str, Any]:
    entry, change = bar
    place = {"backbone": entry.backbone, "dataset": entry.dataset, "budget": entry.budget}
    interval = {"change": change.value, "low": change.low, "high": change.high}
    return place | arm_columns(entry.method, entry.strength) | interval


def _figure(drawn: list[tuple[Leaderboard, Budgets]]) -> plt.Figure:
    """Draw a panel per board, COLUMNS of them side by side, which share their limits."""
    lines = [list(drawn[first : first + COLUMNS]) for first in range(0, len(drawn), COLUMNS)]
    rows = [max(sum(len(bars) + 1 for _, bars in budgets) for _, budgets in line) for line in lines]
    size = (WIDTH * len(lines[0]), sum(MARGIN + ROW * count for count in rows))
    figure, axes = plt.subplots(len(lines), len(lines[0]), figsize=size, squeeze=False, sharex=True, height_ratios=rows)
    for axis in axes.flat[len(drawn) :]:
        axis.set_axis_off()
    for row, line, count in zip(axes, lines, rows, strict=True):
        for axis, (board, budgets) in zip(row, line, strict=False):
            _panel(axis, board, budgets, count)
    figure.tight_layout()
    return figure


def _panel(axis: plt.Axes, board: Leaderboard, budgets: Budgets, rows: int) -> None:
    """Draw a board: a row per method, a heading per budget, and ToMe's change as a line through its budget."""
    row, labels = 0, list[tuple[int, str]]()
    for budget, bars in budgets:
        axis.text(0.01, row, budget, transform=axis.get_yaxis_transform(), va="center", style="italic", color="#555555")
        first = row + 1
        for row, bar in enumerate(bars, first):
            _bar(axis, row, bar)
            labels.append((row, f"{style.label(bar.entry.method)}  {bar.entry.strength_label}"))
        rival = next((bar.change.value for bar in bars if bar.entry.method == RIVAL), None)
        if rival is not None:
            axis.plot([rival, rival], [first - 0.4, row + 0.4], color=style.colour(RIVAL), lw=0.8, ls=":", zorder=0)
        row += 1
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks([place for place, _ in labels], [text for _, text in labels], fontsize=7)
    axis.set_ylim(rows - 0.4, -0.8)
    axis.set_xlabel("change of Acc@1 in points")
    axis.tick_params(labelbottom=True)  # also above another panel
    axis.set_title(f"{board.backbone}, {board.dataset}", loc="left", y=1.0)  # without y, every label is measured
    axis.grid(axis="x", color="#e5e5e5", lw=0.6)
    axis.set_axisbelow(True)


def _bar(axis: plt.Axes, row: int, bar: Bar) -> None:
    """Draw a method's change with its interval; filled where the interval excludes 0."""
    change, colour = bar.change, style.colour(bar.entry.method)
    assert change.value is not None
    assert change.low is not None
    assert change.high is not None
    errors = [[change.value - change.low], [change.high - change.value]]
    is_clear = change.high < 0 or change.low > 0
    axis.errorbar(
        change.value,
        row,
        xerr=errors,
        fmt=style.marker(bar.entry.method),
        color=colour,
        ms=4.5,
        elinewidth=1.1,
        markerfacecolor=colour if is_clear else "white",
    )
