"""Score a classified cell: compute its metrics from the trials that its jobs recorded. No torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bigain.core.specs import ScoreSpec
from bigain.core.validation import TRIALS, read_columns
from bigain.datasets import load as load_dataset
from bigain.datasets.base import Dataset
from bigain.jobs.metrics_files import prompts_cut_off, read_chunk_provenance, write_metrics
from bigain.metrics import accuracy as acc

TIMESTEPS = 1000


def score_classification(spec: ScoreSpec, chunks: list[Path], output: Path) -> None:
    """Write a cell's Acc@1, and its mean over classes (single-label data) or three variants of mAP (multi-label data).

    Every image's hit is stored for paired tests. Raises ValueError naming the file, and its column, image or key, that
    cannot be a result of this cell.
    """
    provenance = read_chunk_provenance(spec, chunks)
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
        items["map_released"] = released.tolist()
    else:
        items["label"] = [labels[image][0] for image in predicted.index]
        metrics["class_acc@1"] = acc.class_accuracy(hits, items["label"])
    warnings: dict[str, str] = {}
    if (cut := prompts_cut_off(spec, provenance)) is not None:
        warnings["prompts"] = f"{cut[0]} of {len(dataset.prompts)} classes have prompts {cut[1]}"
    scores = {"metrics": metrics, "items": items, "left_out": left_out, "warnings": warnings}
    write_metrics(output, spec, scores | {"classes": list(dataset.class_names)}, chunks, provenance, {})


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
