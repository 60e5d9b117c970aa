"""Figure of "Is it frequency?": leads of the lowest score, accuracy over alpha, and what the change of r explains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from bigain.reporting import names
from bigain.reporting.frequency_cells import LOWEST, RULES, AlphaSweep, Destinations
from bigain.reporting.frequency_probe import Mediated

WIDTH, HEIGHT = 11, 3.8  # inches, with legends of up to LINES lines below the panels
LINES, LINE = 3, 0.147  # LINE: inches that every further line adds to the height
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vP"


def draw(
    compared: Sequence[Destinations], sweeps: Sequence[AlphaSweep], mediated: Sequence[tuple[str, Mediated]]
) -> plt.Figure:
    """Draw the three panels; one without measurements says so. `mediated` are titles and mediations."""
    explained = [(title, each) for title, each in mediated if each.theirs[0] in RULES]
    lines = max(len(compared), len(sweeps), len(_titles(explained)))
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(WIDTH, HEIGHT))
    if lines > LINES:
        _add_below(figure, LINE * (lines - LINES))
    _leads(left, compared)
    _alphas(middle, sweeps)
    _explained(right, explained, list(dict.fromkeys([*map(_label, compared), *_titles(explained)])))
    figure.tight_layout()
    return figure


def _add_below(figure: plt.Figure, inches: float) -> None:
    """Make a figure higher, but not its panels: the layout places legends relative to a panel's height."""
    height = HEIGHT + inches
    panels = figure.subplotpars
    figure.set_figheight(height)
    figure.subplots_adjust(
        bottom=(panels.bottom * HEIGHT + inches) / height, top=1 - (1 - panels.top) * HEIGHT / height
    )


def _leads(axis: plt.Axes, compared: Sequence[Destinations]) -> None:
    axis.set_title("lead of the lowest score over", loc="left")
    if not compared:
        return _say_not_run(axis)
    rules = [rule for rule in RULES if any(rule in each.leads for each in compared)]
    for number, each in enumerate(compared):
        of_rules = [each.leads[rule].difference for rule in rules if rule in each.leads]
        rows = [rules.index(rule) for rule in rules if rule in each.leads]
        _points(axis, of_rules, np.array(rows) + _shift(number, len(compared)), number, _label(each))
    _rows(axis, [RULES[rule] for rule in rules], "Acc@1, percentage points")


def _label(compared: Destinations) -> str:
    cell = compared.cell
    return f"{cell.backbone}, {cell.dataset}, {names.strength('merge_ratio', cell.strength)}"


def _alphas(axis: plt.Axes, sweeps: Sequence[AlphaSweep]) -> None:
    axis.set_title(r"change from $\alpha = 1$ (ToDo)", loc="left")
    if not sweeps:
        return _say_not_run(axis)
    for number, sweep in enumerate(sweeps):
        alphas = sorted(sweep.changes)
        values = [sweep.changes[alpha].difference for alpha in alphas]
        axis.plot(1, 0, color="black", marker="+")
        label = (
            f"{sweep.cell.backbone}, {sweep.cell.dataset}, {names.strength('downsample_factor', sweep.cell.strength)}"
        )
        axis.errorbar(
            np.array(alphas) + 0.01 * number,
            [value.value for value in values],
            yerr=_errors(values),
            **_look(number),
            lw=0.8,
            elinewidth=0.7,
            label=label,
        )
    axis.axhline(0, color="black", lw=0.8)
    axis.set_xlabel(r"$\alpha$: 0 averages, above 1 extrapolates")
    axis.set_ylabel("Acc@1, percentage points")
    _legend(axis)


def _explained(axis: plt.Axes, mediated: Sequence[tuple[str, Mediated]], series: list[str]) -> None:
    """Draw what is explained; a series looks as in the panel of the leads."""
    axis.set_title(r"of these leads, explained by the change of $r$", loc="left")
    if not mediated:
        return _say_not_run(axis)
    titles = _titles(mediated)
    rules = [rule for rule in RULES if rule != LOWEST and any(m.theirs[0] == rule for _, m in mediated)]
    for number, title in enumerate(titles):
        of_title = [m for t, m in mediated if f"{t}, {names.strength('merge_ratio', m.ours[1])}" == title]
        rows = [rules.index(m.theirs[0]) for m in of_title]
        rows_of_title = np.array(rows) + _shift(number, len(titles))
        _points(axis, [m.explained for m in of_title], rows_of_title, series.index(title), title)
    _rows(axis, [RULES[rule] for rule in rules], "Acc@1, percentage points")


def _titles(mediated: Sequence[tuple[str, Mediated]]) -> list[str]:
    """Return the titles of mediations with their strengths, each once."""
    return list(dict.fromkeys(f"{title}, {names.strength('merge_ratio', m.ours[1])}" for title, m in mediated))


def _look(number: int) -> dict[str, Any]:
    """Return the colour and marker of a series; the first 36 pairs differ."""
    marker = MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]
    return {"color": COLOURS[number % len(COLOURS)], "marker": marker, "markersize": 4}


def _points(axis: plt.Axes, values: Sequence, rows: np.ndarray, number: int, label: str) -> None:
    axis.errorbar(
        [value.value for value in values],
        rows,
        xerr=_errors(values),
        **_look(number),
        lw=0,
        elinewidth=0.8,
        label=label,
    )


def _errors(values: Sequence) -> np.ndarray:
    """Return the lengths of both arms of every interval."""
    ends = np.array([[value.value - value.low, value.high - value.value] for value in values]).T
    return ends.clip(min=0)


def _rows(axis: plt.Axes, labels: list[str], quantity: str) -> None:
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.set_xlabel(quantity)
    _legend(axis)


def _legend(axis: plt.Axes) -> None:
    axis.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.17))


def _shift(number: int, count: int) -> float:
    """Return how far a row of points lies from its label, so that several do not hide each other."""
    return 0.5 * (number / max(1, count - 1) - 0.5) if count > 1 else 0.0


def _say_not_run(axis: plt.Axes) -> None:
    axis.set_axis_off()
    axis.text(0.5, 0.5, "not run", ha="center", va="center", transform=axis.transAxes)
