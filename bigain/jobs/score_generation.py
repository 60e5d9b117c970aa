"""Score a generated cell: compute the distances between its images' features and the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bigain.core.provenance import as_input, checked
from bigain.core.specs import ScoreSpec
from bigain.core.validation import read_features
from bigain.datasets import load as load_dataset
from bigain.jobs.metrics_files import prompts_cut_off, read_chunk_provenance, write_metrics
from bigain.metrics import FEWEST_IMAGES
from bigain.metrics.fidelity import SUBSET, kernel_distance, precision_recall
from bigain.metrics.frechet import Reference, extrapolated, fewest_to_extrapolate, frechet, of_perfect_generator
from bigain.metrics.jackknife import Jackknifed, by_stratum

DISTANCE = {"inception": "fid", "fashion-net": "fd"}  # by feature network
IN_PRINT = {"fid": "a FID", "fd": "an FD"}
FEWEST_REAL = 2048  # images of a data set that a distance needs


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
    provenance = read_chunk_provenance(spec, chunks)
    compared_with = {"reference": as_input(reference, checked(reference, spec["reference"]))}
    real = read_features(reference, with_statistics=True)
    generated = _generated(chunks, reference, real["features"].shape[1])
    captioned = load_dataset(spec["dataset"]).cycled(len(generated))
    generated = generated[by_stratum(list(zip(captioned.labels, captioned.captions, strict=True)))]
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
    if (cut := prompts_cut_off(spec, provenance)) is not None:
        scores["warnings"]["captions"] = f"{cut[0]} of {len(generated)} images have captions {cut[1]}"
    write_metrics(output, spec, scores, chunks, provenance, compared_with)


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
