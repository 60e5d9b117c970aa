"""index.html: one self-contained page with the study's setup, and every table and figure."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bigain.core.files import write_text
from bigain.core.records import commits, environment, summary
from bigain.core.report_specs import DatasetProtocol, ReportSpec
from bigain.core.rounding import rounded
from bigain.methods.ids import method_of
from bigain.metrics.significance import Difference
from bigain.reporting import names
from bigain.reporting.collected import CellScores
from bigain.reporting.contents import TIMESTEPS_FIGURE, TableEntry, figures_of, has_leaderboard, read_tables
from bigain.reporting.frames import CellMetric, records
from bigain.reporting.numbers import Value, digits
from bigain.reporting.protocol import counted, elimination_note
from bigain.reporting.rendering import render
from bigain.reporting.scores import Scores

COMPARED = ("acc@1", "map_released", *names.DISTANCES)  # metrics of the paired gains


class Gain(NamedTuple):
    """By how much a table's main method is better than another at the same strength."""

    ours: CellMetric
    against: str
    difference: Difference


def write_page(
    results: pd.DataFrame,
    scored: list[CellScores],
    tables: Path,
    document: Path,
    sheets: list[Path],
    spec: ReportSpec,
    output: Path,
) -> None:
    """Write the page from the results, the cells, the sample sheets, and the tables and figures rendered into
    `output`'s folder, which also holds the document that the page links to."""
    folder = output.parent
    table_entries = read_tables(tables)
    ranked = is_ranked(scored)
    order = [
        "table1",
        *(["leaderboard"] if ranked else []),
        *table_entries,
        *(["frequency", "theorem1"] if spec["probed"] else []),
    ]
    order += ["table9", "table10", "table11", "table13"]
    compared = gains(Scores(scored), table_entries)
    shown = figures_of(spec["probed"], spec.get("timesteps", False), ranked)
    first, *figures = [(figure, _base64(folder / f"{figure.name}.png")) for figure in shown]
    context = {
        "spec": spec,
        "note": note(compared),
        "document": document.name,
        "facts": facts(scored, spec),
        "baselines": baselines(names.without_hidden_maps(results, spec)),
        "gains": [_printed_gain(gain) for gain in compared],
        "first": first,
        "figures": [(figure, image) for figure, image in figures if figure != TIMESTEPS_FIGURE],
        "timesteps": _fragments(folder, ["timesteps"] if TIMESTEPS_FIGURE in shown else []),
        "timesteps_figures": [(figure, image) for figure, image in figures if figure == TIMESTEPS_FIGURE],
        "paper": _fragments(folder, ["answers", "claims", "beside", "audit"]),
        "fragments": _fragments(folder, order),
        "sheets": [(sheet.stem.removeprefix("samples-"), _base64(sheet)) for sheet in sorted(sheets)],
        "compressed": compressed_rows(scored),
    }
    write_text(output, render("index.html", context))


def is_ranked(scored: list[CellScores]) -> bool:
    """Return whether the report of these cells has a leaderboard."""
    return has_leaderboard(
        (cell["cell"]["backbone"], cell["cell"]["dataset"], cell["cell"]["method"]) for cell in scored
    )


def _fragments(folder: Path, tables: list[str]) -> dict[str, str]:
    """Read the tables that were rendered to HTML, in this order."""
    files = {name: folder / f"{name}.html" for name in tables}
    return {name: file.read_text(encoding="utf-8") for name, file in files.items() if file.exists()}


def note(gains: list[Gain]) -> str:
    """Return a sentence on the smallest difference that this study's comparisons can show."""
    accuracy = [gain.difference for gain in gains if gain.ours.metric == "acc@1"]
    if not accuracy:
        return "This study compares no accuracies."
    images = dict.fromkeys((min(d.n for d in accuracy), max(d.n for d in accuracy)))
    detectable = float(np.median([d.detectable for d in accuracy]))
    where = f"half of the {len(accuracy)} comparisons" if len(accuracy) > 1 else "the only comparison"
    return (
        f"Methods are compared on the same {' to '.join(f'{n:,}' for n in images)} images with the same noise. A true "
        f"difference in Acc@1 of {rounded(detectable, digits(detectable))} points would have been significant with 80% "
        f"power in {where}; smaller ones may well go unseen."
    )


def facts(scored: list[CellScores], spec: ReportSpec) -> list[tuple[str, str]]:
    """Return the study's setup and cost, as names and values."""
    models = ", ".join(sorted({cell["cell"]["backbone"] for cell in scored}))
    data = ", ".join(sorted({cell["cell"]["dataset"] for cell in scored}))
    classification, generation = spec["classification"], spec["generation"]
    seconds = sum(cell["seconds"] for cell in scored)
    time = f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
    rows = [
        ("cells", str(len(scored))),
        ("models", models),
        ("data sets", data),
        *((name, _setup(settings, generation["steps"])) for name, settings in spec["datasets"].items()),
    ]
    if any(cell["cell"]["task"] == "classification" for cell in scored):
        noise = f"{classification['noise']} noise"
        rows.append(("classifier", f"{classification['timesteps']} timesteps, {classification['loss']} loss, {noise}"))
        if note := elimination_note(spec):
            rows.append(("elimination", note))
    environments = sorted({summary(environment) for cell in scored for environment in cell["environments"]})
    return [
        *rows,
        ("seeds", ", ".join(map(str, spec["seeds"]))),
        ("computed with", "; and ".join(environments)),
        *_remarks(scored, "left_out", "left out"),
        *_remarks(scored, "warnings", "warning"),
        ("job time", f"{time} over all model jobs, {seconds / len(scored):.0f} s per cell"),
        *_commit(),
    ]


def _commit() -> list[tuple[str, str]]:
    """Return the commit of the code that made the page, with `+` if the code was changed since, in a checkout."""
    commit = commits([environment()])
    return [("page made by commit", commit)] if commit else []


def _remarks(scored: list[CellScores], key: str, heading: str) -> list[tuple[str, str]]:
    """Return what cells left out or warn of, with the reason and the number of cells."""
    counts: dict[str, int] = {}
    for cell in scored:
        for metric, reason in cell[key].items():
            counts[f"{metric}: {reason}"] = counts.get(f"{metric}: {reason}", 0) + 1
    return [(heading, f"{reason} ({count} cells)") for reason, count in counts.items()]


def _setup(settings: DatasetProtocol, steps: int) -> str:
    """Describe how a data set is classified and generated."""
    parts, images = [], counted(settings)
    if "images" in settings:
        parts.append(f"{images['classified']} images classified into {settings['classes']} classes")
        parts.append(f"trials {settings['stages']}, keep {settings['keep']}")
    if "generated" in settings:
        parts.append(f"{images['generated']} images generated in {steps} steps")
    return "; ".join(parts)


def baselines(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the uncompressed cells' scores, a row per metric."""
    uncompressed = frame[(frame["method"] == "none") & frame["metric"].isin(names.METRICS)]
    return [
        {**row, "metric": names.METRICS[row["metric"]].label, "number": Value(row["value"], row["low"], row["high"])}
        for row in records(uncompressed)
    ]


def gains(scores: Scores, tables: dict[str, TableEntry]) -> list[Gain]:
    """Return by how much each table's main method is better than its other methods, at equal strength."""
    pairs = dict.fromkeys(
        (table.delta.of, other) for table in tables.values() for other in table.methods if other != table.delta.of
    )
    return [
        Gain(ours, against, scores.improvement(ours, ours._replace(method=against)))
        for metric in COMPARED
        for of, against in pairs
        for ours in scores.cells(metric, of)
        if scores.comparable(ours, ours._replace(method=against))
    ]


def _printed_gain(gain: Gain) -> dict[str, Any]:
    ours, difference = gain.ours, gain.difference
    of, against = method_of(ours.method), method_of(gain.against)
    return {
        "backbone": ours.backbone,
        "dataset": ours.dataset,
        "metric": names.METRICS[ours.metric].label,
        "comparison": f"{of.label} over {against.label}",
        "strength": names.strength(of.strength_kind, ours.strength),
        "gain": Value(difference.value, difference.low, difference.high),
        "n": difference.n,
    }


def compressed_rows(scored: list[CellScores]) -> list[dict[str, Any]]:
    """Return what each token method compressed: number of blocks, and tokens of the first, before and after."""
    rows: dict[tuple[str, str, float], dict[str, Any]] = {}
    for entry in scored:
        cell, sites = entry["cell"], entry["compressed"]
        if sites and "unit" not in sites[0]:
            method = method_of(cell["method"])
            row = {"backbone": cell["backbone"], "method": method.label, "blocks": len(sites)}
            row["strength"] = names.strength(method.strength_kind, cell["strength"])
            row |= {"tokens": sites[0]["tokens"], "kept": sites[0]["kept"], "keys_values": sites[0]["keys"]}
            rows[cell["backbone"], cell["method"], cell["strength"]] = row
    return list(rows.values())


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
