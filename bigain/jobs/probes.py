"""The jobs that probe a model: token maps (Figures 2 and 3) and class differences by frequency band (Theorem 1)."""

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
from bigain.core.columns import described
from bigain.core.measurement_specs import SpectrumSpec, TokenMapsSpec
from bigain.core.records import write_table
from bigain.datasets import load as load_dataset
from bigain.datasets.base import Dataset
from bigain.datasets.photos import centre_crop, pixels
from bigain.jobs.common import Stopwatch, backbone_of, save_tensors, sites_of
from bigain.jobs.inputs import shared_input
from bigain.measure.spectrum import differences, draw_pair
from bigain.measure.token_maps import merged_tokens, probed_block, saliency
from bigain.methods.ids import strength_of


def token_maps(spec: TokenMapsSpec, latents_file: Path, output: Path) -> None:
    """Map the tokens of some images: safetensors with `images` uint8 [n, C, H, W], `saliency` [n, h, w], and `merged`
    uint8 [m, n, h, w] for the m methods."""
    stopwatch, inputs = Stopwatch(), {"latents": shared_input(latents_file, spec)}
    backbone, sites = backbone_of(spec["backbone"]), sites_of(spec["backbone"])
    dataset = load_dataset(spec["dataset"])
    latents, positions = _first_of_each_class(dataset, latents_file, spec["images"])
    ids = [dataset.ids[position] for position in positions]
    channels, size = backbone.image_shape
    images = np.stack([pixels(centre_crop(dataset.open(position), size), channels) for position in positions])
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
    stopwatch.write_provenance(output, spec, inputs, backbone.device)


def spectrum(spec: SpectrumSpec, latents_file: Path, conditions_file: Path, output: Path) -> None:
    """Measure paired class differences by band under every arm, of which the first is uncompressed: parquet with
    method, strength, image, true, wrong, t and band_0 .. band_K."""
    stopwatch = Stopwatch()
    inputs = {"latents": shared_input(latents_file, spec), "conditions": shared_input(conditions_file, spec)}
    backbone, sites = backbone_of(spec["backbone"]), sites_of(spec["backbone"])
    dataset = load_dataset(spec["dataset"])
    latents, positions = readable_latents(latents_file, spec["images"])
    with safe_open(conditions_file, "pt") as stored:
        candidates = stored.get_tensor("candidates")
    seed, bands = spec["seed"], spec["bands"]
    pairs = [draw_pair(seed, dataset.ids[i], dataset.labels[i][0], len(candidates)) for i in positions]
    timesteps = Stages((spec["timesteps"],), (1,)).timesteps()[0]
    rows = [(pair, t) for pair in pairs for t in timesteps]
    tables = []
    for method, strength in tqdm(spec["arms"], desc="arms"):
        options = strength_of(method, strength)
        with compressed(backbone.denoiser, method, **options, task="classification", seed=seed, **sites) as at:
            by_band = differences(backbone, latents, pairs, candidates, timesteps, seed, spec["batch"], bands, at)
        columns = {
            "method": pa.array([method] * len(rows)),
            "strength": pa.array([strength] * len(rows), pa.float64()),
            "image": pa.array([pair.image for pair, _ in rows], pa.int64()),
            "true": pa.array([pair.true for pair, _ in rows], pa.int32()),
            "wrong": pa.array([pair.wrong for pair, _ in rows], pa.int32()),
            "t": pa.array([t for _, t in rows], pa.int32()),
        }
        columns |= {f"band_{k}": pa.array(by_band.reshape(-1, bands)[:, k], pa.float64()) for k in range(bands)}
        tables.append(pa.table(columns))
    write_table(output, described(pa.concat_tables(tables).combine_chunks(), "spectrum"), spec)
    stopwatch.write_provenance(output, spec, inputs, backbone.device)


def readable_latents(latents_file: Path, count: int) -> tuple[Tensor, list[int]]:
    """Return latents and positions of the first `count` images that could be read."""
    with safe_open(latents_file, "pt") as stored:
        latents, unreadable = stored.get_tensor("latents"), set(stored.get_tensor("unreadable").tolist())
    positions = [position for position in range(len(latents)) if position not in unreadable][:count]
    return latents[positions], positions


def _first_of_each_class(dataset: Dataset, latents_file: Path, count: int) -> tuple[Tensor, list[int]]:
    """Return latents and positions of the first image of each class, for the first `count` classes that occur."""
    latents, positions = readable_latents(latents_file, len(dataset))
    first: dict[tuple[int, ...], int] = {}
    for row, position in enumerate(positions):
        first.setdefault(dataset.labels[position], row)
    rows = list(first.values())[:count]
    return latents[rows], [positions[row] for row in rows]
