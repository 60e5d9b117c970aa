"""Score a cell: compute its metrics from what its jobs recorded. No torch."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bigain.core.provenance import (
    InputFile,
    ResultError,
    as_input,
    checked,
    encoding_digest,
    provenance_file,
    read_provenance,
    write_sealed,
)
from bigain.core.records import distinct, summaries
from bigain.core.specs import ScoreSpec
from bigain.core.validation import TRIALS, read_columns, read_features, validate
from bigain.datasets import load as load_dataset
from bigain.datasets.base import Dataset
from bigain.metrics import FEWEST_IMAGES
from bigain.metrics import accuracy as acc
from bigain.metrics.fidelity import SUBSET, kernel_distance, precision_recall
from bigain.metrics.frechet import Reference, extrapolated, fewest_to_extrapolate, frechet, of_perfect_generator
from bigain.metrics.jackknife import Jackknifed

TIMESTEPS = 1000
DISTANCE = {"inception": "fid", "fashion-net": "fd"}  # by feature network
IN_PRINT = {"fid": "a FID", "fd": "an FD"}
FEWEST_REAL = 2048  # images of a data set that a distance needs
# Schemas of the keys of a chunk's provenance that scoring reads.
PROVENANCE = {
    "inputs": {"type": "object", "additionalProperties": {"type": "object"}},
    "seconds": {"type": "number"},
    "compressed": {"type": "array"},
    "environments": {"type": "array", "items": {"type": "object"}},
}
CUT_OFF = {  # only if there are any
    "cut_off": {
        "type": "object",
        "required": ["positions", "after"],
        "properties": {"positions": {"type": "array", "items": {"type": "integer"}}, "after": {"type": "integer"}},
    },
}


def score_classification(spec: ScoreSpec, chunks: list[Path], output: Path) -> None:
    """Write a cell's Acc@1, and its mean over classes (single-label data) or three variants of mAP (multi-label data).

    Every image's hit is stored for paired tests. Raises ValueError naming the file, and its column, image or key, that
    cannot be a result of this cell.
    """
    provenance = _provenance(spec, chunks)
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
    if (cut := _cut_off(spec, provenance)) is not None:
        warnings["prompts"] = f"{cut[0]} of {len(dataset.prompts)} classes have prompts {cut[1]}"
    scores = {"metrics": metrics, "items": items, "left_out": left_out, "warnings": warnings}
    _write(output, spec, scores | {"classes": list(dataset.class_names)}, chunks, provenance, {})


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
    """Write the distances of a cell's generated images from the data set's: `fid`, `fid_inf`, `fid_perfect`, `kid`,
    `precision` and `recall` with Inception features, `fd`, `fd_inf` and `fd_perfect` with others.

    The values without each block of images are stored for paired tests. If too few images were generated, the distance
    is left out, and the file says why; if the data set has too few, the file warns of it. Raises ValueError naming the
    file and the tensor that cannot be a result of this cell.
    """
    network = spec["network"]
    if network is None:
        raise ValueError("the spec of a generated cell names no feature network")
    provenance = _provenance(spec, chunks)
    compared_with = {"reference": as_input(reference, checked(reference, spec["reference"]))}
    real = read_features(reference, with_statistics=True)
    generated = _generated(chunks, reference, real["features"].shape[1])
    name, fewest, references = DISTANCE[network], FEWEST_IMAGES[network], len(real["features"])
    scores: dict[str, Any] = {"metrics": {}, "items": {}, "left_out": {}, "warnings": {}}
    if references < FEWEST_REAL:
        reason = f"compared with {references} images; with fewer than {FEWEST_REAL}, {IN_PRINT[name]} is too large"
        scores["warnings"][name] = reason
    if len(generated) < fewest:
        scores["left_out"][name] = f"{len(generated)} generated images; at least {fewest} are needed"
    elif network == "inception" and references < SUBSET:
        raise ValueError(f"{reference}: features of {references} images; KID needs at least {SUBSET}")
    else:
        _add_frechet(scores, name, Reference(real["mu"], real["sigma"]), generated)
        if network == "inception":
            _add_jackknifed(scores, "kid", kernel_distance(real["features"], generated))
            scores["metrics"] |= precision_recall(real["features"], generated)
        captions = spec["inputs"]["conditions"]
        images = {"n": len(generated), "seed": spec["cell"]["seed"], "captions": captions}
        scores["blocks"]["images"] = images | {"reference": spec["reference"]}
    if (cut := _cut_off(spec, provenance)) is not None:
        scores["warnings"]["captions"] = f"{cut[0]} of {len(generated)} images have captions {cut[1]}"
    _write(output, spec, scores, chunks, provenance, compared_with)


def _cut_off(spec: ScoreSpec, provenance: list[dict[str, Any]]) -> tuple[int, str] | None:
    """Return how many classes or images have a prompt that the model does not read to its end, and what is wrong with
    it; None if there are none."""
    parts = [chunk["cut_off"] for chunk in provenance if "cut_off" in chunk]
    if not parts:
        return None
    positions = {position for part in parts for position in part["positions"]}
    return len(positions), f"longer than the {parts[0]['after']} tokens that {spec['cell']['backbone']} reads"


def _generated(chunks: list[Path], reference: Path, dimensions: int) -> np.ndarray:
    """Read the generated images' features. Raises ValueError if theirs are not those of the reference."""
    parts = [read_features(chunk)["features"] for chunk in chunks]
    for chunk, part in zip(chunks, parts, strict=True):
        if part.shape[1] != dimensions:
            wanted = f"those of {reference} have {dimensions}"
            raise ValueError(f"{chunk}: features have {part.shape[1]} dimensions; {wanted}")
    return np.concatenate(parts)


def _add_frechet(scores: dict[str, Any], name: str, reference: Reference, generated: np.ndarray) -> None:
    """Add a Fréchet distance, that of infinitely many images, and what a perfect generator would score."""
    distance = frechet(reference, generated)
    _add_jackknifed(scores, name, distance)
    n, fewest = len(generated), fewest_to_extrapolate(generated.shape[1])
    if n < fewest:
        scores["left_out"][f"{name}_inf"] = f"{n} generated images; at least {fewest} are needed"
    else:
        scores["metrics"][f"{name}_inf"] = extrapolated(reference, generated, distance)
    scores["metrics"][f"{name}_perfect"] = of_perfect_generator(reference, n)


def _add_jackknifed(scores: dict[str, Any], metric: str, distance: Jackknifed) -> None:
    scores["metrics"][metric] = distance.estimate
    scores.setdefault("blocks", {"left_out": {}})["left_out"][metric] = distance.left_out.tolist()


def _provenance(spec: ScoreSpec, chunks: list[Path]) -> list[dict[str, Any]]:
    """Return the provenance of every chunk.

    Raises ResultError for a chunk that is damaged, of another spec, or computed from inputs of other specs than now.
    """
    every = []
    for chunk, expected in zip(chunks, spec["chunks"], strict=True):
        provenance = checked(chunk, expected)
        file = provenance_file(chunk)
        validate(file, provenance, PROVENANCE | (CUT_OFF if "cut_off" in provenance else {}))
        for name, digest in spec["inputs"].items():
            if _input_digest(provenance["inputs"].get(name, {}), digest) != digest:
                raise ResultError(chunk, "outdated", f"was computed from {name} of other settings or code than now")
        summaries(file, provenance["environments"])
        every.append(provenance)
    return every


def _input_digest(recorded: dict[str, Any], expected: str) -> str | None:
    """Return the digest of the spec of an input of a chunk, as `ScoreSpec.inputs` has it.

    Older chunks recorded it with how many images were encoded. It is then read from the input, if that is still the
    same file.
    """
    if recorded.get("spec") == expected or "file" not in recorded:
        return recorded.get("spec")
    with suppress(ResultError):
        provenance = read_provenance(recorded["file"])
        if provenance.get("sha256") == recorded.get("sha256"):
            return encoding_digest(provenance["spec"])
    return recorded.get("spec")


def _write(
    output: Path,
    spec: ScoreSpec,
    scores: dict[str, Any],
    chunks: list[Path],
    provenance: list[dict[str, Any]],
    inputs: dict[str, InputFile],
) -> None:
    """Write a metrics file, with what the provenance of its chunks says; print what was left out and all warnings."""
    for heading in ("left_out", "warnings"):
        for name, reason in scores[heading].items():
            print(f"{heading.replace('_', ' ')}: {name}: {reason}")
    content = {
        "spec": spec,
        "inputs": {
            **inputs,
            **{file.stem: as_input(file, chunk) for file, chunk in zip(chunks, provenance, strict=True)},
        },
        "cell": spec["cell"],
        **scores,
        "metrics": {name: asdict(estimate) for name, estimate in scores["metrics"].items()},
        "seconds": sum(chunk["seconds"] for chunk in provenance),
        "compressed": provenance[0]["compressed"],
        "environments": distinct(environment for chunk in provenance for environment in chunk["environments"]),
    }
    write_sealed(output, content)
