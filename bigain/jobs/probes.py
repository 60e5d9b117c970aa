"""The bodies of the jobs that look inside: token maps (Figures 2 and 3) and band spectra (Theorem 1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from safetensors import safe_open
from torch import Tensor
from tqdm import tqdm

from bigain.classifier.timesteps import Stages
from bigain.compression.attach import compressed
from bigain.core.records import write_table
from bigain.datasets import load as load_dataset
from bigain.datasets.base import Dataset
from bigain.datasets.photos import centre_crop, pixels
from bigain.jobs.common import Spec, backbone_of, save_tensors, sites_of
from bigain.measure.spectrum import differences, draw_pair
from bigain.measure.token_maps import merged_tokens, probed_block, saliency
from bigain.methods.ids import strength_of


def token_maps(spec: Spec, latents_file: Path, output: Path) -> None:
    """Figures 2 and 3 of some images: safetensors with `images` uint8 [n, C, H, W], `saliency` [n, h, w], and `merged`
    uint8 [m, n, h, w] of the spec's methods."""
    backbone, sites = backbone_of(spec), sites_of(spec)
    dataset = load_dataset(spec["dataset"])
    latents, places = _one_a_class(dataset, latents_file, spec["images"])
    ids = [dataset.ids[place] for place in places]
    channels, size = backbone.image_shape
    images = np.stack([pixels(centre_crop(dataset.open(place), size), channels) for place in places])
    block = probed_block(backbone, sites)
    merged = [
        merged_tokens(backbone, sites, method, spec["ratio"], latents, ids, spec["timestep"], spec["seed"])
        for method in spec["methods"]
    ]
    tensors = {
        "images": torch.from_numpy(images),
        "saliency": saliency(backbone, block, latents, ids, spec["timestep"], spec["draws"], spec["seed"]),
        "merged": torch.stack(merged).to(torch.uint8),
    }
    save_tensors(output, tensors, spec)


def spectrum(spec: Spec, latents_file: Path, conditions_file: Path, output: Path) -> None:
    """The paired class differences by band of every arm, the first of them uncompressed: parquet with method, strength,
    image, true, wrong, t and band_0 .. band_K."""
    backbone, sites = backbone_of(spec), sites_of(spec)
    dataset = load_dataset(spec["dataset"])
    latents, places = _readable(latents_file, spec["images"])
    with safe_open(conditions_file, "pt") as stored:
        candidates = stored.get_tensor("candidates")
    seed = spec["seed"]
    pairs = [draw_pair(seed, dataset.ids[i], dataset.labels[i][0], len(candidates)) for i in places]
    timesteps = Stages((spec["timesteps"],), (1,)).timesteps()[0]
    parts = []
    for method, strength in tqdm(spec["arms"], desc="arms"):
        given = strength_of(method, strength)
        with compressed(backbone.denoiser, method, **given, task="classification", seed=seed, **sites) as at:
            found = differences(
                backbone, latents, pairs, candidates, timesteps, seed, spec["batch"], spec["bands"], at
            ).reshape(-1, spec["bands"])
        rows = [(pair, t) for pair in pairs for t in timesteps]
        columns = {
            "method": pa.array([method] * len(rows)),
            "strength": pa.array([strength] * len(rows), pa.float64()),
            "image": pa.array([pair.image for pair, _ in rows], pa.int64()),
            "true": pa.array([pair.true for pair, _ in rows], pa.int32()),
            "wrong": pa.array([pair.wrong for pair, _ in rows], pa.int32()),
            "t": pa.array([t for _, t in rows], pa.int32()),
        }
        columns |= {f"band_{k}": pa.array(found[:, k], pa.float64()) for k in range(spec["bands"])}
        parts.append(pa.table(columns))
    joined = pa.concat_tables(parts)
    write_table(output, {name: joined[name].combine_chunks() for name in joined.column_names}, spec)


def _readable(latents_file: Path, count: int) -> tuple[Tensor, list[int]]:
    """The latents and places of the first images that could be encoded."""
    with safe_open(latents_file, "pt") as stored:
        latents, unreadable = stored.get_tensor("latents"), set(stored.get_tensor("unreadable").tolist())
    places = [place for place in range(len(latents)) if place not in unreadable][:count]
    return latents[places], places


def _one_a_class(dataset: Dataset, latents_file: Path, count: int) -> tuple[Tensor, list[int]]:
    """The latents and places of the first image of each of the first `count` classes that occur."""
    latents, places = _readable(latents_file, len(dataset))
    first: dict[tuple[int, ...], int] = {}
    for row, place in enumerate(places):
        first.setdefault(dataset.labels[place], row)
    rows = list(first.values())[:count]
    return latents[rows], [places[row] for row in rows]
