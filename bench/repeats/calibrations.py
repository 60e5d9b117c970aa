"""Small calibrations of the structural methods, made on the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.repeats.images import SEED, Size, Subject, on_cpu
from bigain.calibration import dip_go, mosaicdiff
from bigain.calibration.data import CalibrationData
from bigain.calibration.runs import ClassificationRun, GenerationRun, Run
from bigain.methods.presets import METHODS

IMAGES, REDUCTION = 2, 10  # images to calibrate on; percent of the operations to save


def calibrated(subject: Subject, size: Size, folder: Path) -> Subject:
    """Calibrate the structural methods for both tasks on the first images; return the subject with their files."""
    backbone = replace(subject, device="cpu").model("float32")
    data = CalibrationData(
        ids=subject.ids[:IMAGES],
        latents=on_cpu(subject.latents[:IMAGES]),
        conditions=on_cpu(subject.labels()[:IMAGES]),
        null=on_cpu(backbone.null_condition()),
    )

    def classification(part: CalibrationData) -> Run:
        return ClassificationRun(backbone, part, size.settings("dip_go").stages, len(subject.conditions), SEED)

    def generation(part: CalibrationData) -> Run:
        return GenerationRun(backbone, part, size.sampling.steps, size.sampling.guidance, SEED)

    runs = {"classification": classification, "generation": generation}
    files: dict[tuple[str, str], Path] = {}
    for method in (METHODS[name] for name in size.of_kind(structural=True)):
        start = folder / f"{subject.family}-{method.id}"
        if method.operator == "mosaicdiff":
            file = start.with_suffix(".safetensors")
            mosaicdiff.calibrate(backbone, data, method, REDUCTION, SEED).save(file)
            files |= {(method.id, task): file for task in runs}
            continue
        for task, run_of in runs.items():
            file = start.with_name(f"{start.name}-{task}.safetensors")
            dip_go.calibrate(backbone, data, run_of, method, REDUCTION, SEED, updates=0).save(file)
            files[method.id, task] = file
    return replace(subject, calibrations=files)
