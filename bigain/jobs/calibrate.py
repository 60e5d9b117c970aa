"""The job that calibrates a structural method."""

from __future__ import annotations

from pathlib import Path

import torch

from bigain.calibration import dip_go, mosaicdiff
from bigain.calibration.data import CalibrationData
from bigain.calibration.runs import ClassificationRun, GenerationRun, Run
from bigain.classifier.timesteps import Stages
from bigain.datasets import load as load_dataset
from bigain.datasets.photos import crops
from bigain.jobs.common import Spec, backbone_of, to_float
from bigain.jobs.photos import together
from bigain.methods.ids import method_of


def calibrate(spec: Spec, output: Path) -> None:
    """Calibrate a structural method on the first images of a data set and write the result as safetensors."""
    backbone = backbone_of(spec)
    method = method_of(spec["method"])
    dataset = load_dataset(spec["dataset"]).first(spec["images"])
    channels, size = backbone.image_shape
    step = together(size)
    parts = [range(start, min(start + step, len(dataset))) for start in range(0, len(dataset), step)]
    latents = torch.cat([backbone.encode_images(to_float(crops(dataset, part, size, channels))) for part in parts])
    candidates = backbone.conditions(list(dataset.prompts), list(dataset.class_ids or ()))
    data = CalibrationData(
        ids=list(dataset.ids),
        latents=latents.clone(),
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
