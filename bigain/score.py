"""From records to numbers: the metrics of one cell, and all cells in one tidy table. No torch."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.numpy import load_file

from bigain.datasets import load as load_dataset
from bigain.files import read_json, whole_file, write_json
from bigain.metrics import accuracy as acc
from bigain.metrics.accuracy import Estimate
from bigain.metrics.frechet import frechet
from bigain.records import read_table

Spec = dict[str, Any]


def score_classification(spec: Spec, chunks: list[Path], output: Path) -> None:
    """Acc@1 (and, for multi-label data, mAP in three variants) of a cell, with every image's hit for paired tests."""
    trials = pd.concat([read_table(chunk).to_pandas() for chunk in chunks], ignore_index=True)
    dataset = load_dataset(spec["dataset"]["reader"], spec["dataset"]["path"])
    labels = dict(zip(dataset.ids, dataset.labels, strict=True))
    predicted = acc.decisions(trials)
    hits = acc.correct(predicted, labels)
    metrics = {"acc@1": acc.accuracy(hits)}
    items = {"image": predicted.index.tolist(), "predicted": predicted.tolist(), "acc@1": hits.astype(int).tolist()}
    if dataset.multi_label:
        seed = spec["cell"]["seed"]
        precision = acc.image_average_precision(acc.ranking(trials), labels)
        released = acc.image_average_precision(acc.released_ranking(trials), labels)
        metrics["map"] = acc.mean_average_precision(precision, seed)
        metrics["map_released"] = acc.mean_average_precision(released, seed)
        metrics["map_macro"] = acc.macro_average_precision(trials, labels, seed)
        items["map"] = precision.tolist()
    _write(output, spec, metrics, items, chunks)


def score_generation(spec: Spec, reference: Path, chunks: list[Path], output: Path) -> None:
    """The Fréchet distance of a cell's generated images to the data set: `fid` with Inception features, else `fd`."""
    real = load_file(reference)["features"]
    parts = [load_file(chunk)["features"] for chunk in chunks]
    generated = pd.concat([pd.DataFrame(part) for part in parts]).to_numpy()
    metric = "fid" if spec["network"] == "inception" else "fd"
    _write(output, spec, {metric: frechet(real, generated)}, {}, chunks)


def _write(output: Path, spec: Spec, metrics: dict[str, Estimate], items: dict[str, list], chunks: list[Path]) -> None:
    provenance = [read_json(f"{chunk}.json") for chunk in chunks]
    write_json(
        output,
        {
            "cell": spec["cell"],
            "metrics": {name: asdict(estimate) for name, estimate in metrics.items()},
            "items": items,
            "seconds": sum(info["seconds"] for info in provenance),
            "compressed": provenance[0]["compressed"],
            "environment": provenance[0]["environment"],
        },
    )


def collect(files: list[Path], output: Path) -> None:
    """One row a cell and metric: the study's tidy results, parquet."""
    rows = []
    for file in files:
        scored = read_json(file)
        for metric, estimate in scored["metrics"].items():
            rows.append({**scored["cell"], "metric": metric, **estimate, "seconds": scored["seconds"]})
    frame = pd.DataFrame(rows)
    frame["strength"] = frame["strength"].astype(float)
    with whole_file(output) as temporary:
        frame.to_parquet(temporary, index=False)
