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
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from bigain import backbones
from bigain.attachment import Compression
from bigain.backbones.base import Backbone
from bigain.classify import Protocol, classify_block
from bigain.datasets import load as load_dataset
from bigain.files import whole_file, write_json
from bigain.generate import Sampling, generate_block
from bigain.measure import efficiency as efficiency_measure
from bigain.measure.features import load_network
from bigain.patching import compressed
from bigain.records import canonical, environment, read_table, write_table
from bigain.schedule import Stages
from bigain.structural import dip_go, mosaicdiff
from bigain.structural.data import CalibrationData
from bigain.structural.runs import ClassificationRun, GenerationRun, Run
from bigain.variants import method_of, strength_of

Spec = dict[str, Any]


def encode_images(spec: Spec, output: Path) -> None:
    """Latents of a data set's first `images` images: safetensors with `latents` [n, C, H, W], float32."""
    backbone = _backbone(spec)
    dataset = load_dataset(spec["dataset"]["reader"], spec["dataset"]["path"], spec["images"])
    parts = [
        backbone.encode_images(_to_float(dataset.read(range(i, min(i + 64, len(dataset))))))
        for i in tqdm(range(0, len(dataset), 64), desc="encode images")
    ]
    _save_tensors(output, {"latents": torch.cat(parts)}, spec)


def encode_conditions(spec: Spec, output: Path) -> None:
    """Conditions of the candidates, the null condition, and those of the first `captions` captions."""
    backbone = _backbone(spec)
    dataset = load_dataset(spec["dataset"]["reader"], spec["dataset"]["path"])
    tensors = {
        "candidates": backbone.conditions(list(dataset.prompts), list(dataset.class_ids)),
        "null": backbone.null_condition(),
    }
    if spec["captions"]:
        part = dataset.first(spec["captions"])
        unique = sorted(set(part.captions))
        first_label = {caption: labels[0] for caption, labels in zip(part.captions, part.labels, strict=True)}
        ids = [dataset.class_ids[first_label[caption]] for caption in unique]
        tensors["captions"] = backbone.conditions(unique, ids)
        tensors["caption_of_image"] = torch.tensor([unique.index(caption) for caption in part.captions])
    _save_tensors(output, tensors, spec)


def reference_features(spec: Spec, output: Path) -> None:
    """Features of all real images of a data set: safetensors with `features` [N, D]."""
    network = load_network(spec["feature_network"]["name"], Path(spec["feature_network"]["weights"]))
    dataset = load_dataset(spec["dataset"]["reader"], spec["dataset"]["path"])
    with torch.inference_mode():
        parts = [
            network(_to_float(dataset.read(range(i, min(i + 100, len(dataset))))))
            for i in tqdm(range(0, len(dataset), 100), desc="features")
        ]
    _save_tensors(output, {"features": torch.cat(parts)}, spec)


def classify(spec: Spec, latents_file: Path, conditions_file: Path, output: Path, info: Path) -> None:
    """Per-trial errors of the images in `spec["images"]`: parquet with image, class, t, stage, error."""
    backbone = _backbone(spec)
    latents = load_file(latents_file)["latents"]
    candidates = load_file(conditions_file)["candidates"]
    ids = load_dataset(spec["dataset"]["reader"], spec["dataset"]["path"]).ids
    settings = spec["protocol"]
    protocol = Protocol(
        stages=Stages(tuple(settings["stages"]), tuple(settings["keep"])),
        seed=spec["seed"],
        batch_size=settings["batch"],
        loss=settings["loss"],
        random_timesteps=settings["timesteps"] == "random",
        noise=method_of(spec["method"]).noise,
    )

    def compute(places: list[int], at: Compression | None, path: Path) -> None:
        trials = []
        for block in _blocks(places, spec["block"]):
            chosen = [ids[place] for place in block]
            trials += classify_block(backbone, latents[block], chosen, candidates, protocol, at)
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
    backbone = _backbone(spec)
    settings = spec["protocol"]
    network = load_network(settings["feature_network"]["name"], Path(settings["feature_network"]["weights"]))
    stored = load_file(conditions_file)
    sampling = Sampling(settings["steps"], settings["guidance"], spec["seed"])

    def compute(places: list[int], at: Compression | None, path: Path) -> None:
        features, kept = [], []
        for block in _blocks(places, spec["block"]):
            conditions = stored["captions"][stored["caption_of_image"][block]]
            images = generate_block(backbone, block, conditions, stored["null"], sampling, at)
            with torch.inference_mode():
                features.append(network(images))
            kept.append(images[[place < settings["keep_images"] for place in block]])
        images = (torch.cat(kept) * 255).round().to(torch.uint8)
        _save_tensors(path, {"features": torch.cat(features), "images": images}, spec)

    def join(shards: list[Path]) -> None:
        parts = [load_file(shard) for shard in shards]
        _save_tensors(output, {name: torch.cat([part[name] for part in parts]) for name in parts[0]}, spec)

    _run_shards(spec, backbone, "safetensors", compute, join, info)


def calibrate(spec: Spec, output: Path) -> None:
    """Calibrate a structural method on the first images of a data set: what `bigain.structural` found, safetensors."""
    backbone = _backbone(spec)
    method = method_of(spec["method"])
    dataset = load_dataset(spec["dataset"]["reader"], spec["dataset"]["path"], spec["images"])
    candidates = backbone.conditions(list(dataset.prompts), list(dataset.class_ids))
    data = CalibrationData(
        ids=list(dataset.ids),
        latents=backbone.encode_images(_to_float(dataset.read(range(len(dataset))))).clone(),
        conditions=candidates[[labels[0] for labels in dataset.labels]].clone(),
        null=backbone.null_condition().clone(),  # clones, unlike what inference mode gives, can be differentiated
    )
    if method.operator == "mosaicdiff":
        mosaicdiff.calibrate(backbone, data, method, spec["reduction"], spec["seed"]).save(output)
        return
    settings = spec["protocol"]

    def run_of(part: CalibrationData) -> Run:
        if "stages" in settings:
            stages = Stages(tuple(settings["stages"]), tuple(settings["keep"]))
            return ClassificationRun(backbone, part, stages, len(candidates), spec["seed"])
        return GenerationRun(backbone, part, settings["steps"], settings["guidance"], spec["seed"])

    found = dip_go.calibrate(backbone, data, run_of, method, spec["reduction"], spec["seed"], spec["updates"])
    found.save(output)


def efficiency(spec: Spec, output: Path) -> None:
    """FLOPs and seconds of every method and strength of the study on one backbone: CSV, a row an arm."""
    backbone = _backbone(spec)
    arms = [efficiency_measure.Arm(*arm) for arm in spec["arms"]]
    rows = efficiency_measure.measure(backbone, arms, _sites(spec), spec["batch"], spec["rounds"])
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
        backbone.denoiser, spec["method"], **strength, task=spec["task"], seed=spec["seed"], **_sites(spec)
    )


def _sites(spec: Spec) -> dict[str, Any]:
    """Where a method acts, as `compressed` takes it."""
    settings = spec["backbone"]
    places = {name: _tuple(settings.get(name)) for name in ("levels", "blocks")}
    return {**places, "metric_site": settings.get("metric_site")}


def _backbone(spec: Spec) -> Backbone:
    settings = spec["backbone"]
    device = settings["device"]
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return backbones.load(settings["family"], settings["path"], device, settings["dtype"])


def _tuple(value: list[int] | None) -> tuple[int, ...] | None:
    return None if value is None else tuple(value)


def _blocks(places: list[int], size: int) -> list[list[int]]:
    return [places[i : i + size] for i in range(0, len(places), size)]


def _to_float(images: Any) -> Tensor:
    """uint8 [n, H, W] or [n, H, W, 3] -> float32 [n, C, H, W] in [0, 1]."""
    x = torch.from_numpy(images).float() / 255
    return x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2)


def _save_tensors(path: Path, tensors: dict[str, Tensor], spec: Spec) -> None:
    with whole_file(path) as temporary:
        save_file({name: t.contiguous() for name, t in tensors.items()}, temporary, {"spec": canonical(spec)})
