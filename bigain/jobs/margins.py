"""The job that measures every image's margins to its hardest wrong class by frequency band, with repeated noise."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from safetensors import safe_open
from torch import Tensor
from tqdm import tqdm

from bigain.backbones.base import Backbone
from bigain.classifier.timesteps import Stages
from bigain.compression.attach import compressed
from bigain.core.columns import described
from bigain.core.measurement_specs import MarginsSpec
from bigain.core.records import write_table
from bigain.core.rng import seed_for
from bigain.datasets import load as load_dataset
from bigain.jobs.common import Stopwatch, backbone_of, sites_of
from bigain.jobs.inputs import shared_input
from bigain.jobs.probes import readable_latents
from bigain.measure.margins import hardest_wrong
from bigain.measure.spectrum import Row, band_errors
from bigain.methods.ids import strength_of

Arm = tuple[str, float | int | None]


class Probed(NamedTuple):
    """What is probed: a backbone, latents with the ids and classes of their images, candidates, and timesteps."""

    backbone: Backbone
    latents: Tensor
    images: np.ndarray
    true: np.ndarray
    candidates: Tensor
    timesteps: np.ndarray


class Comparisons(NamedTuple):
    """Wrong classes that images are compared with at timesteps, by place in `Probed`: arrays of one length."""

    image: np.ndarray
    t: np.ndarray
    wrong: np.ndarray
    hardest: np.ndarray  # whether the class is the image's hardest by the other half of the timesteps


def margins(spec: MarginsSpec, latents_file: Path, conditions_file: Path, output: Path) -> None:
    """Measure margins under every arm: parquet with method, strength, image, true, wrong, hardest, t, noise and
    band_0 .. band_K.

    The first arm is the uncompressed model. It is compared with every wrong class and so finds the hardest, with which
    alone the others are compared.
    """
    stopwatch = Stopwatch()
    inputs = {"latents": shared_input(latents_file, spec), "conditions": shared_input(conditions_file, spec)}
    dataset, (latents, positions) = load_dataset(spec["dataset"]), readable_latents(latents_file, spec["images"])
    with safe_open(conditions_file, "pt") as stored:
        candidates = stored.get_tensor("candidates")
    images = np.array([dataset.ids[position] for position in positions])
    true = np.array([dataset.labels[position][0] for position in positions])
    timesteps = np.array(Stages((spec["timesteps"],), (1,)).timesteps()[0])
    probed = Probed(backbone_of(spec["backbone"]), latents, images, true, candidates, timesteps)

    uncompressed, *arms = spec["arms"]
    shape = (len(images), len(timesteps), len(candidates))
    image, t, c = (axis.ravel() for axis in np.indices(shape))
    errors = _errors(spec, probed, uncompressed, image, t, c).reshape(spec["noises"], *shape, spec["bands"])
    chosen = hardest_wrong(errors.sum(axis=-1).mean(axis=0), true)
    is_wrong = c != true[image]
    every = Comparisons(*(column[is_wrong] for column in (image, t, c, c == chosen[image, t])))
    by_band = errors[:, every.image, every.t, every.wrong] - errors[:, every.image, every.t, true[every.image]]
    tables = [_table(probed, uncompressed, every, by_band)]

    hardest = Comparisons(*(column[every.hardest] for column in every))
    image, t = np.tile(hardest.image, 2), np.tile(hardest.t, 2)
    classes = np.concatenate([hardest.wrong, true[hardest.image]])
    for arm in tqdm(arms, desc="arms"):
        wrong, right = np.split(_errors(spec, probed, arm, image, t, classes), 2, axis=1)
        tables.append(_table(probed, arm, hardest, wrong - right))
    write_table(output, described(pa.concat_tables(tables).combine_chunks(), "margins"), spec)
    stopwatch.write_provenance(output, spec, inputs, probed.backbone.device)


def _errors(
    spec: MarginsSpec, probed: Probed, arm: Arm, image: np.ndarray, t: np.ndarray, condition: np.ndarray
) -> np.ndarray:
    """Return the squared errors of predictions under an arm by noise and band: [noises, rows, K].

    Each noise has a seed of its own, which no classifier of the study has, and keys what the method draws, too.
    """
    rows = [Row(*row) for row in np.stack([image, probed.timesteps[t], condition], axis=1).tolist()]
    (method, strength), sites, by_noise = arm, sites_of(spec["backbone"]), []
    for noise in range(spec["noises"]):
        seed, options = seed_for(spec["seed"], "margins", noise), strength_of(method, strength)
        with compressed(probed.backbone.denoiser, method, **options, task="classification", seed=seed, **sites) as at:
            ids, size, bands = probed.images.tolist(), spec["batch"], spec["bands"]
            of_rows = (probed.backbone, probed.latents, ids, probed.candidates, rows, seed, size, bands, at)
            by_noise.append(band_errors(*of_rows))
    return np.stack(by_noise)


def _table(probed: Probed, arm: Arm, compared: Comparisons, by_band: np.ndarray) -> pa.Table:
    """Return the margins [noises, comparisons, K] of an arm, a row per comparison and noise."""
    noises, count, bands = by_band.shape
    (method, strength), rows = arm, noises * count
    columns = {
        "method": pa.array([method] * rows),
        "strength": pa.array([strength] * rows, pa.float64()),
        "image": pa.array(np.tile(probed.images[compared.image], noises), pa.int64()),
        "true": pa.array(np.tile(probed.true[compared.image], noises), pa.int32()),
        "wrong": pa.array(np.tile(compared.wrong, noises), pa.int32()),
        "hardest": pa.array(np.tile(compared.hardest, noises)),
        "t": pa.array(np.tile(probed.timesteps[compared.t], noises), pa.int32()),
        "noise": pa.array(np.repeat(np.arange(noises), count), pa.int32()),
    }
    columns |= {f"band_{k}": pa.array(by_band[..., k].ravel(), pa.float32()) for k in range(bands)}  # small to keep
    return pa.table(columns)
