"""The classification job: one cell times one range of images, per-trial errors out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from safetensors import safe_open

from bigain.classifier.classify import Protocol, ReleasedNoise, Trial, classify_block
from bigain.classifier.elimination import Elimination
from bigain.classifier.engine import TooLarge
from bigain.classifier.timesteps import Stages
from bigain.compression.attachment import Attachment
from bigain.datasets import load as load_dataset
from bigain.jobs.common import Spec, backbone_of, compile_denoiser
from bigain.jobs.shards import TABLES, calibration_of, digest, run_shards
from bigain.methods.ids import method_of


def classify(spec: Spec, latents_file: Path, conditions_file: Path, output: Path, info: Path) -> None:
    """Per-trial errors of the images in `spec["images"]`: parquet with image, class, t, stage, error.

    A block whose batches do not fit into memory is done in the `smaller_batch`, where the spec allows one, and so are
    those after it; its provenance says so.
    """
    backbone = backbone_of(spec)
    notes: dict[str, Any] = compile_denoiser(spec, backbone)
    first, last = spec["images"]
    with safe_open(latents_file, "pt") as stored:  # of latents only this job's own
        latents, unreadable = stored.get_slice("latents")[first:last], set(stored.get_tensor("unreadable").tolist())
    with safe_open(conditions_file, "pt") as stored:
        candidates = stored.get_tensor("candidates")
    ids = load_dataset(spec["dataset"]).ids
    protocol, smaller = _protocol(spec), spec["protocol"]["smaller_batch"]
    stream = ReleasedNoise(spec["seed"], protocol.stages.trials, backbone.latent_shape)
    common = digest(candidates, *calibration_of(spec))

    def compute(places: list[int], at: Attachment) -> pa.Table:
        block = [place for place in places if place not in unreadable]
        if not block:
            return _table([])
        chosen, x_0 = [ids[place] for place in block], latents[[place - first for place in block]]
        released = [stream.of(place) for place in block] if protocol.noise_source == "released" else None

        def run(rows: int) -> pa.Table:
            shaped = replace(protocol, batch_size=rows)
            return _table(classify_block(backbone, x_0, chosen, candidates, shaped, at, released))

        try:
            return run(notes.get("batch", protocol.batch_size))
        except TooLarge:
            if smaller is None or "batch" in notes:
                raise
        notes["batch"] = smaller  # outside the handler, which holds what does not fit
        return run(smaller)

    def inputs(places: list[int]) -> str:
        return digest(latents[[place - first for place in places]], common)

    run_shards(spec, backbone, TABLES, compute, inputs, output, info, notes)


def _protocol(spec: Spec) -> Protocol:
    settings = spec["protocol"]
    elimination = settings["elimination"]
    return Protocol(
        stages=Stages(tuple(settings["stages"]), tuple(settings["keep"])),
        seed=spec["seed"],
        batch_size=settings["batch"],
        loss=settings["loss"],
        random_timesteps=settings["timesteps"] == "random",
        noise_per=method_of(spec["method"]).noise_per,
        noise_source=settings["noise"],
        elimination=None if elimination is None else Elimination(**elimination),
    )


def _table(trials: list[Trial]) -> pa.Table:
    return pa.table(
        {
            "image": pa.array([trial.image for trial in trials], pa.int64()),
            "class": pa.array([trial.class_index for trial in trials], pa.int32()),
            "t": pa.array([trial.t for trial in trials], pa.int32()),
            "stage": pa.array([trial.stage for trial in trials], pa.int32()),
            "error": pa.array([trial.error for trial in trials], pa.float32()),
        }
    )
