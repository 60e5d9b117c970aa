"""Score cells: the metrics of one cell from its records, and all cells in one tidy table. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bigain.core.files import whole_file, write_json
from bigain.core.records import summary
from bigain.core.specs import ScoreSpec
from bigain.core.validation import TRIALS, read_columns, read_features, read_report
from bigain.datasets import load as load_dataset
from bigain.datasets.base import Dataset
from bigain.metrics import FEWEST_IMAGES
from bigain.metrics import accuracy as acc
from bigain.metrics.accuracy import Estimate
from bigain.metrics.fidelity import SUBSET, kernel_distance, precision_recall
from bigain.metrics.frechet import frechet

TIMESTEPS = 1000
LARGEST = 1e300  # of an estimate; anything larger is an overflow
NUMBER, COUNT, TEXT = {"type": "number"}, {"type": "integer", "minimum": 0}, {"type": "string"}
# Schemas of the keys that are read of a chunk's provenance, and of a metrics file.
PROVENANCE = {
    "seconds": NUMBER,
    "compressed": {"type": "array"},
    "environments": {"type": "array", "items": {"type": "object"}},
}
METRICS = {
    "cell": {
        "type": "object",
        "required": ["strength"],
        "properties": {"strength": {"type": ["number", "null"]}, "seed": COUNT},
        "additionalProperties": TEXT,
    },
    "metrics": {
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "required": ["value", "low", "high"],
            "properties": {"value": {}, "low": {}, "high": {}, "n": COUNT},
            "additionalProperties": False,
        },
    },
    "seconds": NUMBER,
    "environments": {"type": "array", "items": {"type": "object"}},
}


def score_classification(spec: ScoreSpec, chunks: list[Path], output: Path) -> None:
    """Write a cell's Acc@1, and its mean over classes (single-label data) or three variants of mAP (multi-label data).

    Every image's hit is stored for paired tests. Raises ValueError naming the file, and its column, image or key, that
    cannot be a result of this cell.
    """
    dataset = load_dataset(spec["dataset"])
    classified = dataset.first(spec["images"])
    labels = dict(zip(classified.ids, classified.labels, strict=True))
    trials = _trials(chunks, classified)
    predicted = acc.decisions(trials)
    hits = acc.correct(predicted, labels)
    metrics = {"acc@1": acc.accuracy(hits)}
    left_out: dict[str, str] = {}
    if spec["images"] > len(hits):
        left_out["images"] = f"{spec['images'] - len(hits)} of {spec['images']} could not be read"
    items: dict[str, list] = {
        "image": predicted.index.tolist(),
        "predicted": predicted.tolist(),
        "acc@1": hits.astype(int).tolist(),
    }
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
    scores = {"metrics": metrics, "items": items, "left_out": left_out, "warnings": {}}
    _write(output, spec, scores | {"classes": list(dataset.class_names)}, chunks)


def _trials(chunks: list[Path], classified: Dataset) -> pd.DataFrame:
    """Read the trials of all chunks. Raises ValueError naming a chunk with trials that this data set cannot have."""
    ids, classes = np.array(classified.ids), len(classified.prompts)
    parts: list[pd.DataFrame] = []
    known = np.array([], dtype=np.int64)
    for chunk in chunks:
        part = read_columns(chunk, TRIALS).to_pandas()
        image = part["image"].to_numpy()
        if (foreign := image[~np.isin(image, ids)]).size:
            raise ValueError(f"{chunk}: image {foreign[0]} is not one of the {len(ids)} images of {classified.name}")
        if (again := image[np.isin(image, known)]).size:
            raise ValueError(f"{chunk}: image {again[0]} is also in another chunk")
        for name, beyond in (("class", classes), ("t", TIMESTEPS), ("stage", TIMESTEPS)):
            if (wrong := part[name][~part[name].between(0, beyond - 1)]).size:
                raise ValueError(f"{chunk}: column {name!r} holds {wrong.iloc[0]}; allowed are 0 to {beyond - 1}")
        if (twice := part.duplicated(["image", "class", "t"])).any():
            place = part[twice].iloc[0]
            raise ValueError(f"{chunk}: image {place['image']:g}, class {place['class']:g}, t {place['t']:g} twice")
        if (counts := part[part["stage"] == 0].groupby("image")["class"].nunique()).size < part["image"].nunique():
            raise ValueError(f"{chunk}: an image has no trials of stage 0")
        if (fewer := counts[counts < classes]).size:
            raise ValueError(f"{chunk}: image {fewer.index[0]} has {fewer.iloc[0]} of {classes} classes in stage 0")
        known = np.union1d(known, image)
        parts.append(part)
    if not known.size:
        raise ValueError(f"{', '.join(map(str, chunks))}: no trials")
    return pd.concat(parts, ignore_index=True)


def score_generation(spec: ScoreSpec, reference: Path, chunks: list[Path], output: Path) -> None:
    """Write the distances of a cell's generated images from the data set's: `fid`, `kid`, `precision` and `recall` with
    Inception features, `fd` with others. Too few images for a distance are recorded as left out, and too few images of
    the data set for a FID as a warning.

    Raises ValueError naming the file and the tensor that cannot be a result of this cell.
    """
    network = spec["network"]
    if network is None:
        raise ValueError("the spec of a generated cell names no feature network")
    real = read_features(reference, with_statistics=True)
    parts = [read_features(chunk)["features"] for chunk in chunks]
    for chunk, part in zip(chunks, parts, strict=True):
        if part.shape[1] != real["features"].shape[1]:
            expected = real["features"].shape[1]
            raise ValueError(f"{chunk}: features have {part.shape[1]} dimensions; those of {reference} have {expected}")
    generated = np.concatenate(parts)
    inception = network == "inception"
    fewest, references = FEWEST_IMAGES[network], len(real["features"])
    warnings: dict[str, str] = {}
    if inception and references < fewest:
        warnings["fid"] = f"reference of {references} images; with fewer than {fewest} a FID comes out too large"
    metrics: dict[str, Estimate] = {}
    left_out: dict[str, str] = {}
    if len(generated) < fewest:
        left_out["fid" if inception else "fd"] = f"{len(generated)} generated images; at least {fewest} are needed"
    elif inception and references < SUBSET:
        raise ValueError(f"{reference}: features of {references} images; KID needs at least {SUBSET}")
    else:
        metrics["fid" if inception else "fd"] = frechet(real["mu"], real["sigma"], generated)
        if inception:
            metrics["kid"] = kernel_distance(real["features"], generated)
            metrics |= precision_recall(real["features"], generated)
    scores = {"metrics": metrics, "items": {}, "left_out": left_out, "warnings": warnings}
    _write(output, spec, scores, chunks)


def _write(output: Path, spec: ScoreSpec, scores: dict[str, Any], chunks: list[Path]) -> None:
    """Write a metrics file: the cell's scores, and the provenance of its chunks. Print what it lacks or warns of."""
    for heading in ("left_out", "warnings"):
        for name, reason in scores[heading].items():
            print(f"{heading.replace('_', ' ')}: {name}: {reason}")
    provenance = [read_report(f"{chunk}.json", PROVENANCE) for chunk in chunks]
    for chunk, info in zip(chunks, provenance, strict=True):
        _summary(f"{chunk}.json", info["environments"])
    write_json(
        output,
        {
            "cell": spec["cell"],
            **scores,
            "metrics": {name: asdict(estimate) for name, estimate in scores["metrics"].items()},
            "seconds": sum(info["seconds"] for info in provenance),
            "compressed": provenance[0]["compressed"],
            "environments": _distinct(environment for info in provenance for environment in info["environments"]),
        },
    )


def _distinct(environments: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return every distinct environment, in order of appearance."""
    distinct: list[dict[str, Any]] = []
    for environment in environments:
        if environment not in distinct:
            distinct.append(environment)
    return distinct


def _summary(file: Path | str, environments: list[dict[str, Any]]) -> str:
    """Summarize a file's environments in one line. Raises ValueError naming the file and a missing key."""
    try:
        return " and ".join(sorted(map(summary, environments)))
    except KeyError as error:
        raise ValueError(f"{file}: environments: {error} is missing") from error


def collect(files: list[Path], output: Path) -> None:
    """Write the study's tidy results as parquet: a row per cell and metric, with the environment it was computed in.

    Raises ValueError if no cell has a metric, or naming the file and metric of a number that is not finite, or the file
    and key that does not fit a metrics file.
    """
    rows = []
    for file in files:
        scored = read_report(file, METRICS)
        environment = _summary(file, scored["environments"])
        for metric, estimate in scored["metrics"].items():
            if not all(_is_finite(estimate[name]) for name in ("value", "low", "high")):
                raise ValueError(f"{file}: {metric} is not finite: {estimate}")
            rows.append(
                {
                    **scored["cell"],
                    "metric": metric,
                    **{name: value if name == "n" else float(value) for name, value in estimate.items()},
                    "seconds": scored["seconds"],
                    "environment": environment,
                }
            )
    if not rows:
        raise ValueError("no cell has a metric: all have too few images (see `left_out` in the metrics files)")
    frame = pd.DataFrame(rows)
    frame["strength"] = frame["strength"].astype(float)
    with whole_file(output) as temporary:
        frame.to_parquet(temporary, index=False)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
