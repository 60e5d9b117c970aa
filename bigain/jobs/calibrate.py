"""The job that calibrates a structural method."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.backbones.images import images_per_batch, to_float
from bigain.calibration import dip_go, mosaicdiff
from bigain.calibration.data import CalibrationData
from bigain.calibration.runs import ClassificationRun, GenerationRun, Run
from bigain.classifier.timesteps import Stages
from bigain.core.specs import CalibrateSpec
from bigain.datasets import load as load_dataset
from bigain.datasets.base import Dataset
from bigain.datasets.photos import crops
from bigain.jobs.common import Stopwatch, backbone_of
from bigain.methods.ids import method_of


def calibrate(spec: CalibrateSpec, output: Path) -> None:
    """Calibrate a structural method on the first images of a training split; write the result as safetensors."""
    stopwatch, backbone = Stopwatch(), backbone_of(spec["backbone"])
    method, reduction = method_of(spec["method"]), spec["reduction"]
    if reduction is None:
        raise ValueError(f"{method.id} needs a reduction of operations, in percent")
    dataset = load_dataset(spec["dataset"]).first(spec["images"])
    candidates = backbone.conditions(list(dataset.prompts), list(dataset.class_ids or ()))
    data = CalibrationData(
        ids=list(dataset.ids),
        latents=encoded(backbone, dataset).clone(),
        conditions=candidates[[labels[0] for labels in dataset.labels]].clone(),
        null=backbone.null_condition().clone(),  # clones, unlike tensors of inference mode, can be differentiated
    )
    if method.operator == "mosaicdiff":
        calibration = mosaicdiff.calibrate(backbone, data, method, reduction, spec["seed"])
    else:
        run_of = partial(_run, backbone, spec, len(candidates))
        calibration = dip_go.calibrate(backbone, data, run_of, method, reduction, spec["seed"], spec["updates"])
    calibration.save(output)
    stopwatch.write_provenance(output, spec, {}, backbone.device)


def encoded(backbone: Backbone, dataset: Dataset) -> Tensor:
    """Return the latents of a data set's images."""
    channels, size = backbone.image_shape
    step = images_per_batch(size)
    batches = [range(start, min(start + step, len(dataset))) for start in range(0, len(dataset), step)]
    return torch.cat([backbone.encode_images(to_float(crops(dataset, batch, size, channels))) for batch in batches])


def _run(backbone: Backbone, spec: CalibrateSpec, classes: int, part: CalibrationData) -> Run:
    """Return the task whose timesteps DiP-GO's gates belong to, on a part of the calibration data."""
    protocol = spec["protocol"]
    if "stages" in protocol:
        stages = Stages(tuple(protocol["stages"]), tuple(protocol["keep"]))
        return ClassificationRun(backbone, part, stages, classes, spec["seed"])
    return GenerationRun(backbone, part, protocol["steps"], protocol["guidance"], spec["seed"])
