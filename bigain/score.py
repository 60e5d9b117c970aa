"""From records to numbers: the metrics of one cell, and all cells in one tidy table. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from bigain.datasets import load as load_dataset
from bigain.files import read_json, whole_file, write_json
from bigain.metrics import accuracy as acc
from bigain.metrics.fidelity import kernel_distance, precision_recall
from bigain.metrics.frechet import frechet
from bigain.records import read_table, summary
from bigain.study.config import FEWEST_IMAGES

Spec = dict[str, Any]


def score_classification(spec: Spec, chunks: list[Path], output: Path) -> None:
    """Acc@1, its mean over classes (and, for multi-label data, mAP in three variants) of a cell, with every image's hit
    for paired tests."""
    trials = pd.concat([read_table(chunk).to_pandas() for chunk in chunks], ignore_index=True)
    dataset = load_dataset(spec["dataset"])
    labels = dict(zip(dataset.ids, dataset.labels, strict=True))
    predicted = acc.decisions(trials)
    hits = acc.correct(predicted, labels)
    metrics = {"acc@1": acc.accuracy(hits)}
    left_out = {}
    if spec["images"] > len(hits):
        left_out["images"] = f"{spec['images'] - len(hits)} of {spec['images']} could not be read"
    items = {"image": predicted.index.tolist(), "predicted": predicted.tolist(), "acc@1": hits.astype(int).tolist()}
    if dataset.multi_label:
        seed = spec["cell"]["seed"]
        precision = acc.image_average_precision(acc.ranking(trials), labels)
        released = acc.image_average_precision(acc.released_ranking(trials), labels)
        metrics["map"] = acc.mean_average_precision(precision, seed)
        metrics["map_released"] = acc.mean_average_precision(released, seed)
        metrics["map_macro"] = acc.macro_average_precision(trials, labels, seed)
        items["map"] = precision.tolist()
    else:
        items["label"] = [labels[image][0] for image in predicted.index]
        metrics["class_acc@1"] = acc.class_accuracy(hits, items["label"])
    found = {"metrics": metrics, "items": items, "left_out": left_out, "classes": list(dataset.class_names)}
    _write(output, spec, found, chunks)


def score_generation(spec: Spec, reference: Path, chunks: list[Path], output: Path) -> None:
    """How far a cell's generated images are from the data set's: `fid`, `kid`, `precision` and `recall` with Inception
    features, `fd` with others. With too few images for a distance it is left out, and the file says so."""
    stored = load_file(reference)
    generated = np.concatenate([load_file(chunk)["features"] for chunk in chunks])
    inception = spec["network"] == "inception"
    metrics, left_out = {}, {}
    if len(generated) < FEWEST_IMAGES[spec["network"]]:
        left_out["fid" if inception else "fd"] = (
            f"{len(generated)} generated images; at least {FEWEST_IMAGES[spec['network']]} are needed"
        )
    else:
        metrics["fid" if inception else "fd"] = frechet(stored["mu"], stored["sigma"], generated)
        if inception:
            metrics["kid"] = kernel_distance(stored["features"], generated)
            metrics |= precision_recall(stored["features"], generated)
    _write(output, spec, {"metrics": metrics, "items": {}, "left_out": left_out}, chunks)


def _write(output: Path, spec: Spec, found: dict[str, Any], chunks: list[Path]) -> None:
    provenance = [read_json(f"{chunk}.json") for chunk in chunks]
    write_json(
        output,
        {
            "cell": spec["cell"],
            **found,
            "metrics": {name: asdict(estimate) for name, estimate in found["metrics"].items()},
            "seconds": sum(info["seconds"] for info in provenance),
            "compressed": provenance[0]["compressed"],
            "environments": _distinct(info["environment"] for info in provenance),
        },
    )


def _distinct(environments: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each environment that jobs of a cell ran in, once."""
    found: list[dict[str, Any]] = []
    for one in environments:
        if one not in found:
            found.append(one)
    return found


def collect(files: list[Path], output: Path) -> None:
    """One row a cell and metric: the study's tidy results, parquet, with the environment that they come from.

    Raises ValueError naming the file and metric of a number that is not finite, and if no cell has a metric.
    """
    rows = []
    for file in files:
        scored = read_json(file)
        environment = " and ".join(sorted(map(summary, scored["environments"])))
        for metric, estimate in scored["metrics"].items():
            if not all(math.isfinite(estimate[name]) for name in ("value", "low", "high")):
                raise ValueError(f"{file}: {metric} is no finite number: {estimate}")
            rows.append(
                {
                    **scored["cell"],
                    "metric": metric,
                    **estimate,
                    "seconds": scored["seconds"],
                    "environment": environment,
                }
            )
    if not rows:
        raise ValueError("no cell has a metric: every one has too few images (see `left_out` in the metrics files)")
    frame = pd.DataFrame(rows)
    frame["strength"] = frame["strength"].astype(float)
    with whole_file(output) as temporary:
        frame.to_parquet(temporary, index=False)
