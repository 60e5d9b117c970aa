"""Specs of a cell's jobs: classification or generation, the calibration before it, the metrics after it."""

from __future__ import annotations

from bigain.core.provenance import digest, encoding_digest
from bigain.core.specs import (
    CalibrateSpec,
    CellJobSpec,
    ClassificationProtocol,
    ClassifySpec,
    EliminationSettings,
    GenerateSpec,
    GenerationProtocol,
    SamplerSettings,
    ScoreSpec,
    StageSchedule,
)
from bigain.methods.ids import method_of
from bigain.study.cells import Cell
from bigain.study.fingerprints import code_of
from bigain.study.input_specs import batch_file, batch_spec, conditions_spec, latents_spec, reference_spec
from bigain.study.spec_parts import (
    backbone_part,
    cell_code,
    cell_part,
    dataset_part,
    method_part,
    methods_from,
    model_code,
    network_part,
    reader_code,
)
from bigain.study.workload import Workload


def job_spec(work: Workload, cell: Cell, chunk: int) -> ClassifySpec | GenerateSpec:
    """Return the spec of the classification or generation job of one chunk of a cell's images."""
    on_tokens = method_of(cell.method).acts_on in ("tokens", "keys_values")
    spec: CellJobSpec = {
        "results": work.results,
        "task": cell.task,
        "backbone": backbone_part(work.config, cell.backbone, compressed=on_tokens),
        "dataset": dataset_part(work.config, cell.dataset, classified=cell.task == "classification"),
        "method": cell.method,
        "definition": method_part(cell.method),
        "strength": cell.strength,
        "seed": cell.seed,
        "block": work.batch(cell),
        "shard": work.shard(cell),
        "images": list(work.chunks(cell)[chunk]),
        "threads": work.config["threads"],
        "code": code_of(*cell_code(work.config, cell)),
    }
    if sources := methods_from([cell.method]):
        spec["methods_from"] = sources
    if cell.structural:
        spec["calibration"] = {"file": calibration_file(work, cell), "spec": calibration_spec(work, cell)}
    if cell.task == "classification":
        classify: ClassifySpec = {**spec, "protocol": _classification(work, cell)}
        if work.measures_batch:
            file, how = batch_file(work, cell.backbone), batch_spec(work, cell.backbone)
            classify["measured_batch"] = {"file": file, "spec": how}
        return classify
    return {**spec, "protocol": _generation(work, cell)}


def calibration_file(work: Workload, cell: Cell) -> str:
    """Return the calibration file of a cell with a structural method."""
    return f"{work.results}/cells/{cell.path}/calibration.safetensors"


def calibration_spec(work: Workload, cell: Cell) -> CalibrateSpec:
    """Return the spec of a cell's calibration. DiP-GO's depends on the task's timesteps, MosaicDiff's does not."""
    settings, dataset = work.config["calibration"], work.config["backbones"][cell.backbone]["calibration"]
    searched = method_of(cell.method).operator != "mosaicdiff"
    code = model_code(work.config, cell.backbone, [cell.method])
    spec: CalibrateSpec = {
        "backbone": backbone_part(work.config, cell.backbone, compressed=False),
        "dataset": dataset_part(work.config, dataset),
        "method": cell.method,
        "definition": method_part(cell.method),
        "reduction": cell.strength,
        "seed": cell.seed,
        "images": settings["prompts"] if searched else settings["images"],
        "threads": work.config["threads"],
        "code": code_of("jobs.calibrate", *code, reader_code(work.config, dataset)),
    }
    if searched:
        spec["updates"] = settings["updates"]
        spec["protocol"] = stage_schedule(work, cell.dataset) if cell.task == "classification" else _sampler(work, cell)
    return spec


def score_spec(work: Workload, cell: Cell) -> ScoreSpec:
    """Return the spec of a cell's metrics, with the digests of the specs of its chunks and of all that these read.

    It does not depend on how many images and captions are encoded for other cells.
    """
    classified, place = cell.task == "classification", (work, cell.backbone, cell.dataset)
    inputs = {"conditions": encoding_digest(conditions_spec(*place))}
    if classified:
        inputs["latents"] = encoding_digest(latents_spec(*place))
    if classified and work.measures_batch:
        inputs["batch"] = digest(batch_spec(work, cell.backbone))
    if cell.structural:
        inputs["calibration"] = digest(calibration_spec(work, cell))
    return {
        "cell": cell_part(cell),
        "dataset": dataset_part(work.config, cell.dataset, classified=cell.task == "classification"),
        "images": work.images(cell),
        "network": work.config.get("feature_network", {}).get("name"),
        "chunks": [digest(job_spec(work, cell, chunk)) for chunk in range(len(work.chunks(cell)))],
        "inputs": inputs,
        "reference": None if classified else digest(reference_spec(work, cell.dataset)),
        "code": code_of("score" if classified else "jobs.score_generation", reader_code(work.config, cell.dataset)),
    }


def stage_schedule(work: Workload, dataset: str) -> StageSchedule:
    """Return the classifier's stages on a data set (Table 10)."""
    stages = work.stages(dataset)
    return {"stages": list(stages.targets), "keep": list(stages.keep)}


def _classification(work: Workload, cell: Cell) -> ClassificationProtocol:
    settings = work.config["classification"]
    return {
        **stage_schedule(work, cell.dataset),
        "timesteps": settings["timesteps"],
        "loss": settings["loss"],
        "noise": settings["noise"],
        "batch": settings["batch"],
        "smaller_batch": settings["smaller_batch"],
        "elimination": _elimination(work),
    }


def _elimination(work: Workload) -> EliminationSettings | None:
    """Return the schedule that drops classes, without its certificate, on which no error depends."""
    settings = work.config["classification"]["elimination"]
    return None if settings is None else {"z": float(settings["z"]), "every": settings["every"]}


def _generation(work: Workload, cell: Cell) -> GenerationProtocol:
    settings = work.config["generation"]
    return {
        **_sampler(work, cell),
        "encoding": settings["encoding"],
        "keep_images": settings["keep_images"],
        "feature_network": network_part(work.config),
    }


def _sampler(work: Workload, cell: Cell) -> SamplerSettings:
    guidance = work.config["backbones"][cell.backbone]["guidance"]
    return {"steps": work.config["generation"]["steps"], "guidance": guidance}
