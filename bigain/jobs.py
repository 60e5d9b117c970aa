"""The bodies of the model jobs: a spec in, whole files out. A job is one cell times one range of images.

Every block of images gives one piece of a shard; shards are written whole and kept under the hash of the cell's own
settings, so a killed job goes on at its next shard, and a changed setting never meets an old shard.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from pyarrow.csv import write_csv
from safetensors import safe_open
from safetensors.torch import load_file
from tqdm import tqdm

from bigain.attachment import Compression
from bigain.backbones.base import Backbone
from bigain.classify import Protocol, ReleasedNoise, classify_block
from bigain.datasets import load as load_dataset
from bigain.files import whole_file, write_json
from bigain.generate import Sampling, as_stored, generate_block
from bigain.inputs import backbone_of, feature_network, features_of, save_tensors, sites_of
from bigain.measure import efficiency as efficiency_measure
from bigain.patching import compressed
from bigain.records import canonical, environment, read_table, write_table
from bigain.schedule import Stages
from bigain.variants import method_of, strength_of

Spec = dict[str, Any]


def classify(spec: Spec, latents_file: Path, conditions_file: Path, output: Path, info: Path) -> None:
    """Per-trial errors of the images in `spec["images"]`: parquet with image, class, t, stage, error."""
    backbone = backbone_of(spec)
    first, last = spec["images"]
    with safe_open(latents_file, "pt") as stored:  # of latents only this job's own
        latents, unreadable = stored.get_slice("latents")[first:last], set(stored.get_tensor("unreadable").tolist())
    with safe_open(conditions_file, "pt") as stored:
        candidates = stored.get_tensor("candidates")
    ids = load_dataset(spec["dataset"]).ids
    settings = spec["protocol"]
    protocol = Protocol(
        stages=Stages(tuple(settings["stages"]), tuple(settings["keep"])),
        seed=spec["seed"],
        batch_size=settings["batch"],
        loss=settings["loss"],
        random_timesteps=settings["timesteps"] == "random",
        noise=method_of(spec["method"]).noise,
        drawn=settings["noise"],
    )
    stream = ReleasedNoise(spec["seed"], protocol.stages.trials, backbone.latent_shape)

    def compute(places: list[int], at: Compression | None, path: Path) -> None:
        trials = []
        for whole in _blocks(places, spec["block"]):
            block = [place for place in whole if place not in unreadable]
            if not block:
                continue
            chosen, x_0 = [ids[place] for place in block], latents[[place - first for place in block]]
            released = [stream.of(place) for place in block] if protocol.drawn == "released" else None
            trials += classify_block(backbone, x_0, chosen, candidates, protocol, at, released)
        columns = {
            "image": pa.array([trial.image for trial in trials], pa.int64()),
            "class": pa.array([trial.class_index for trial in trials], pa.int32()),
            "t": pa.array([trial.t for trial in trials], pa.int32()),
            "stage": pa.array([trial.stage for trial in trials], pa.int32()),
            "error": pa.array([trial.error for trial in trials], pa.float32()),
        }
        write_table(path, columns, spec)

    def join(shards: list[Path]) -> None:
        table = pa.concat_tables([read_table(shard) for shard in shards])
        write_table(output, {name: table[name].combine_chunks() for name in table.column_names}, spec)

    _run_shards(spec, backbone, "parquet", compute, join, info)


def generate(spec: Spec, conditions_file: Path, output: Path, info: Path) -> None:
    """Features of the generated images [n, D], and the first `keep_images` of the images, uint8 [k, C, H, W]."""
    backbone = backbone_of(spec)
    settings = spec["protocol"]
    network = feature_network(settings["feature_network"], spec["backbone"]["device"])
    first, last = spec["images"]
    with safe_open(conditions_file, "pt") as stored:  # of captions only this job's own
        null = stored.get_tensor("null")
        caption_of_image = stored.get_tensor("caption_of_image")[first:last]
        rows = stored.get_slice("captions")
        captions = {k: rows[k] for k in set(caption_of_image.tolist())}
    sampling = Sampling(settings["steps"], settings["guidance"], spec["seed"])

    def compute(places: list[int], at: Compression | None, path: Path) -> None:
        features, kept = [], []
        for block in _blocks(places, spec["block"]):
            conditions = torch.stack([captions[int(caption_of_image[place - first])] for place in block])
            images = as_stored(generate_block(backbone, block, conditions, null, sampling, at), settings["encoding"])
            features.append(features_of(network, images))
            kept.append(images[[place < settings["keep_images"] for place in block]])
        images = (torch.cat(kept) * 255).round().to(torch.uint8)
        save_tensors(path, {"features": torch.cat(features), "images": images}, spec)

    def join(shards: list[Path]) -> None:
        parts = [load_file(shard) for shard in shards]
        save_tensors(output, {name: torch.cat([part[name] for part in parts]) for name in parts[0]}, spec)

    _run_shards(spec, backbone, "safetensors", compute, join, info)


def efficiency(spec: Spec, output: Path) -> None:
    """FLOPs and seconds of every method and strength of the study on one backbone: CSV, a row an arm."""
    backbone = backbone_of(spec)
    arms = [efficiency_measure.Arm(*arm) for arm in spec["arms"]]
    rows = efficiency_measure.measure(backbone, arms, sites_of(spec), spec["batch"], spec["rounds"])
    with whole_file(output) as temporary:
        write_csv(pa.Table.from_pylist([{"backbone": spec["backbone"]["id"], **row} for row in rows]), temporary)


def _run_shards(
    spec: Spec,
    backbone: Backbone,
    suffix: str,
    compute: Callable[[list[int], Compression | None, Path], None],
    join: Callable[[list[Path]], None],
    info: Path,
) -> None:
    """Compute the shards that are not there yet, with the cell's method attached; join them; write the provenance."""
    began = time.monotonic()
    own = {key: value for key, value in spec.items() if key not in ("images", "shard")}
    folder = Path(spec["results"], "work") / hashlib.sha256(canonical(own).encode()).hexdigest()[:16]
    first, last = spec["images"]
    starts = range(first, last, spec["shard"])
    shards = [folder / f"images-{start:06d}-{min(start + spec['shard'], last):06d}.{suffix}" for start in starts]
    computed = 0
    with _attached(spec, backbone) as attachment:
        for start, shard in zip(tqdm(starts, desc="shards"), shards, strict=True):
            if not shard.exists():
                places = list(range(start, min(start + spec["shard"], last)))
                compute(places, attachment, shard)
                computed += len(places)
        sites = [] if attachment is None else attachment.report()
    join(shards)
    provenance = {
        "spec": spec,
        "environment": {**environment(), "device": str(backbone.device), "threads": torch.get_num_threads()},
        "seconds": time.monotonic() - began,
        "images_computed": computed,
        "compressed": sites,
    }
    write_json(info, provenance)


def _attached(spec: Spec, backbone: Backbone) -> Any:
    """The context in which the cell's method is on the backbone's denoiser."""
    strength = strength_of(spec["method"], spec["strength"])
    if method_of(spec["method"]).acts_on == "model":
        return compressed(backbone.denoiser, spec["method"], calibration=spec["calibration"]["file"])
    return compressed(
        backbone.denoiser, spec["method"], **strength, task=spec["task"], seed=spec["seed"], **sites_of(spec)
    )


def _blocks(places: list[int], size: int) -> list[list[int]]:
    return [places[i : i + size] for i in range(0, len(places), size)]
