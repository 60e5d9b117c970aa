"""index.html: one self-contained page with the study's setup, and every table and figure."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bigain.core.files import write_text
from bigain.core.records import summary
from bigain.core.specs import DatasetProtocol, ReportSpec
from bigain.methods.ids import method_of
from bigain.metrics.significance import holm, paired
from bigain.reporting import names
from bigain.reporting.collected import CellScores
from bigain.reporting.contents import TableEntry, figures_of, read_tables
from bigain.reporting.frames import records
from bigain.reporting.protocol import elimination_note
from bigain.reporting.rendering import render


class ScoredCell(NamedTuple):
    """A classified cell."""

    backbone: str
    dataset: str
    method: str
    strength: float | None
    seed: int


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
    frame = names.without_hidden_maps(results, spec)
    table_entries = read_tables(tables)
    order = ["table1", *table_entries, *(["theorem1"] if spec["probed"] else [])]
    order += ["table9", "table10", "table11", "table13"]
    context = {
        "spec": spec,
        "note": note(frame),
        "document": document.name,
        "facts": facts(scored, spec),
        "baselines": baselines(frame),
        "gains": gains(scored, table_entries),
        "figures": [(figure, _base64(folder / f"{figure.name}.png")) for figure in figures_of(spec["probed"])],
        "paper": _fragments(folder, ["claims", "beside", "audit"]),
        "fragments": _fragments(folder, order),
        "sheets": [(sheet.stem.removeprefix("samples-"), _base64(sheet)) for sheet in sorted(sheets)],
        "compressed": compressed_rows(scored),
    }
    write_text(output, render("index.html", context))


def _fragments(folder: Path, tables: list[str]) -> dict[str, str]:
    """Read the tables that were rendered to HTML, in this order."""
    files = {name: folder / f"{name}.html" for name in tables}
    return {name: file.read_text(encoding="utf-8") for name, file in files.items() if file.exists()}


def note(frame: pd.DataFrame) -> str:
    """Say how large a difference has to be to mean something, from this study's own intervals."""
    accuracy = frame[frame["metric"] == "acc@1"]
    if accuracy.empty:
        return "This study has no classification cells."
    width = float(((accuracy["high"] - accuracy["low"]) / 2).median())
    return (
        f"With {int(accuracy['n'].median())} images per cell, the 95% interval of an accuracy is about ±{width:.0f} "
        "points, and smaller differences in the tables may be chance. The paired gains below are sharper, because all "
        "methods see the same images and the same noise."
    )


def facts(scored: list[CellScores], spec: ReportSpec) -> list[tuple[str, str]]:
    """Return the study's setup and cost, as names and values."""
    models = ", ".join(sorted({cell["cell"]["backbone"] for cell in scored}))
    data = ", ".join(sorted({cell["cell"]["dataset"] for cell in scored}))
    classification, generation = spec["classification"], spec["generation"]
    minutes = sum(cell["seconds"] for cell in scored) / 60
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
        ("job time", f"{minutes:.1f} minutes over all model jobs, {60 * minutes / len(scored):.0f} s per cell"),
        *_commit(),
    ]


def _commit() -> list[tuple[str, str]]:
    """Return the commit of the checkout that the page was made in, if it is one and git is installed."""
    if shutil.which("git") is None:
        return []
    process = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True, check=False
    )
    return [("commit", process.stdout.strip())] if process.returncode == 0 else []


def _remarks(scored: list[CellScores], key: str, heading: str) -> list[tuple[str, str]]:
    """Return what cells left out or warn of, with the reason and the number of cells."""
    counts: dict[str, int] = {}
    for cell in scored:
        for metric, reason in cell[key].items():
            counts[f"{metric}: {reason}"] = counts.get(f"{metric}: {reason}", 0) + 1
    return [(heading, f"{reason} ({count} cells)") for reason, count in counts.items()]


def _setup(settings: DatasetProtocol, steps: int) -> str:
    """Describe how a data set is classified and generated."""
    parts = []
    if "images" in settings:
        parts.append(f"{settings['images']} images classified into {settings['classes']} classes")
        parts.append(f"trials {settings['stages']}, keep {settings['keep']}")
    if "generated" in settings:
        parts.append(f"{settings['generated']} images generated in {steps} steps")
    return "; ".join(parts)


def baselines(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the uncompressed cells' scores, a row per metric."""
    uncompressed = frame[(frame["method"] == "none") & frame["metric"].isin(names.METRICS)]
    return [{**row, "metric": names.METRICS[row["metric"]].label} for row in records(uncompressed)]


def gains(scored: list[CellScores], tables: dict[str, TableEntry]) -> list[dict[str, Any]]:
    """Return paired differences in Acc@1 between each table's main method and its other methods, at equal strength."""
    hits: dict[ScoredCell, np.ndarray] = {}
    for entry in scored:
        cell = entry["cell"]
        if cell["task"] == "classification":
            key = ScoredCell(*(cell[name] for name in ScoredCell._fields))
            hits[key] = np.array(entry["items"]["acc@1"], dtype=bool)
    pairs = dict.fromkeys(
        (table.delta.of, other) for table in tables.values() for other in table.methods if other != table.delta.of
    )
    rows: list[dict[str, Any]] = []
    for cell, ours in hits.items():
        for of, against in pairs:
            theirs = hits.get(cell._replace(method=against))
            if cell.method == of and theirs is not None:
                gain = paired(ours.astype(float) - theirs)
                rows.append(
                    {
                        "backbone": cell.backbone,
                        "dataset": cell.dataset,
                        "comparison": f"{method_of(of).label} - {method_of(against).label}",
                        "strength": names.strength(method_of(of).strength_kind, cell.strength),
                        "value": gain.value,
                        "low": gain.low,
                        "high": gain.high,
                        "p": gain.p,
                    }
                )
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p"] = p
    return rows


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
