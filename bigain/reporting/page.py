"""index.html: one self-contained page with what was run, on what, how long it took, and every table and figure."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bigain.core.files import read_json, write_text
from bigain.core.records import summary
from bigain.methods.ids import method_of
from bigain.metrics.significance import holm, mcnemar, paired_difference
from bigain.reporting import names
from bigain.reporting.plan import figures_of, read_tables
from bigain.reporting.tables import templates

Scored = list[dict[str, Any]]


def write_page(
    results: Path, metrics: list[Path], tables: Path, document: Path, spec: dict[str, Any], output: Path
) -> None:
    """Write the page from the tidy results, the cells' metrics files and the rendered fragments beside `output`, where
    the document to which it links lies too."""
    folder = output.parent
    frame = names.shown(pd.read_parquet(results), spec)
    scored = [read_json(file) for file in metrics]
    context = {
        "spec": spec,
        "note": note(frame),
        "document": document.name,
        "facts": facts(scored, spec),
        "baselines": baselines(frame),
        "gains": gains(scored, read_tables(tables)),
        "figures": [{**one, "image": _base64(folder / f"{one['name']}.png")} for one in figures_of(spec["probed"])],
        "verdicts": {
            name: (folder / f"{name}.html").read_text(encoding="utf-8")
            for name in ("claims", "beside", "audit")
            if (folder / f"{name}.html").exists()
        },
        "fragments": [
            (folder / f"{name}.html").read_text(encoding="utf-8") for name in _rendered(tables, spec, folder)
        ],
        "sheets": [
            (sheet.stem.removeprefix("samples-"), _base64(sheet)) for sheet in sorted(folder.glob("samples-*.png"))
        ],
        "compressed": compressed_rows(scored),
    }
    write_text(output, templates().get_template("index.html.j2").render(context))


def note(frame: pd.DataFrame) -> str:
    """How much a difference has to be, from this study's own intervals."""
    accuracy = frame[frame["metric"] == "acc@1"]
    if accuracy.empty:
        return "This study has no classification cells."
    width = float(((accuracy["high"] - accuracy["low"]) / 2).median())
    return (
        f"With {int(accuracy['n'].median())} images a cell, an accuracy is known to about ±{width:.0f} points. "
        "Smaller differences in the tables may be chance; methods were run on the same images and the same noise, so "
        "the paired gains below are sharper."
    )


def facts(scored: Scored, spec: dict[str, Any]) -> list[tuple[str, str]]:
    """What was run, on what, how long it took."""
    models = ", ".join(sorted({cell["cell"]["backbone"] for cell in scored}))
    data = ", ".join(sorted({cell["cell"]["dataset"] for cell in scored}))
    classification, generation = spec["classification"], spec["generation"]
    minutes = sum(cell["seconds"] for cell in scored) / 60
    rows = [
        ("cells", str(len(scored))),
        ("models", models),
        ("data sets", data),
        *(_protocol(name, settings, generation["steps"]) for name, settings in spec["datasets"].items()),
    ]
    if any(cell["cell"]["task"] == "classification" for cell in scored):
        noise = f"{classification['noise']} noise"
        rows.append(("classifier", f"{classification['timesteps']} timesteps, {classification['loss']} loss, {noise}"))
    return [
        *rows,
        ("seeds", str(spec["seeds"])),
        ("computed with", "; and ".join(sorted({summary(one) for cell in scored for one in cell["environments"]}))),
        *_left_out(scored),
        ("job time", f"{minutes:.1f} minutes summed over all model jobs, {60 * minutes / len(scored):.0f} s a cell"),
        *_commit(),
    ]


def _commit() -> list[tuple[str, str]]:
    """The commit that the page was made with, in a checkout on a machine with git."""
    if shutil.which("git") is None:
        return []
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True, check=False
    )
    return [("commit", asked.stdout.strip())] if asked.returncode == 0 else []


def _left_out(scored: Scored) -> list[tuple[str, str]]:
    """What cells could not say, and why."""
    reasons: dict[str, int] = {}
    for cell in scored:
        for what, why in cell["left_out"].items():
            reasons[f"{what}: {why}"] = reasons.get(f"{what}: {why}", 0) + 1
    return [("left out", f"{reason} ({count} cells)") for reason, count in reasons.items()]


def _protocol(name: str, settings: dict[str, Any], steps: int) -> tuple[str, str]:
    """How a data set was classified and generated."""
    parts = []
    if "images" in settings:
        parts.append(f"{settings['images']} images classified among {settings['classes']}")
        parts.append(f"trials {settings['stages']}, keep {settings['keep']}")
    if "generated" in settings:
        parts.append(f"{settings['generated']} images generated in {steps} steps")
    return name, "; ".join(parts)


def baselines(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The uncompressed cells, a row a metric."""
    mine = frame[(frame["method"] == "none") & frame["metric"].isin(names.METRICS)]
    return [{**row, "metric": names.METRICS[row["metric"]][0]} for row in mine.to_dict("records")]


def gains(scored: Scored, tables: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Paired differences in Acc@1 of each table's own method against every other method of it, at the same strength."""
    found = {}
    for entry in scored:
        cell = entry["cell"]
        if cell["task"] == "classification":
            key = (cell["backbone"], cell["dataset"], cell["method"], cell["strength"], cell["seed"])
            found[key] = np.array(entry["items"]["acc@1"], dtype=bool)
    pairs = dict.fromkeys(
        (table["delta"]["of"], other)
        for table in tables.values()
        for other in table["methods"]
        if other != table["delta"]["of"]
    )
    rows = []
    for (backbone, dataset, method, strength, seed), ours in found.items():
        for of, against in pairs:
            theirs = found.get((backbone, dataset, against, strength, seed))
            if method == of and theirs is not None:
                gain = paired_difference(ours, theirs, seed)
                rows.append(
                    {
                        "backbone": backbone,
                        "dataset": dataset,
                        "comparison": f"{method_of(of).label} - {method_of(against).label}",
                        "strength": names.strength(method_of(of).strength_kind, strength),
                        "value": gain.value,
                        "low": gain.low,
                        "high": gain.high,
                        "p": mcnemar(ours, theirs),
                    }
                )
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p"] = p
    return rows


def compressed_rows(scored: Scored) -> list[dict[str, Any]]:
    """What each token method really did: blocks hit, tokens, tokens kept, keys and values."""
    rows: dict[tuple, dict[str, Any]] = {}
    for entry in scored:
        cell, sites = entry["cell"], entry["compressed"]
        if sites and "unit" not in sites[0]:
            method = method_of(cell["method"])
            row = {"backbone": cell["backbone"], "method": method.label, "blocks": len(sites)}
            row["strength"] = names.strength(method.strength_kind, cell["strength"])
            row |= {"tokens": sites[0]["tokens"], "kept": sites[0]["kept"], "keys_values": sites[0]["keys"]}
            rows[cell["backbone"], cell["method"], cell["strength"]] = row
    return list(rows.values())


def _rendered(tables: Path, spec: dict[str, Any], folder: Path) -> list[str]:
    """The rendered tables in the paper's order."""
    own = ["theorem1"] if spec["probed"] else []
    every = ["table1", *read_tables(tables), *own, "table9", "table10", "table11", "table13"]
    return [name for name in every if (folder / f"{name}.html").exists()]


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
