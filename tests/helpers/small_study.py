"""A small study whose results are made up, in the files that its jobs would write, provenance included; no model."""

from __future__ import annotations

import json
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
import yaml
from safetensors.numpy import save_file

from bigain.cli.study import merged_config
from bigain.compression.attachment import Uncompressed
from bigain.core.provenance import as_encoding, checked, write_provenance
from bigain.core.records import write_table
from bigain.core.rng import numpy_generator
from bigain.datasets import load as load_dataset
from bigain.jobs.background import OrderedWorker
from bigain.jobs.collect import collect
from bigain.jobs.score import score_classification
from bigain.jobs.score_generation import score_generation
from bigain.jobs.score_timesteps import score_timesteps
from bigain.jobs.shards import CellJob, ShardStore
from bigain.jobs.storage import ParquetShards
from bigain.study.cells import Cell
from bigain.study.study import Study
from bigain.study.timestep_specs import timesteps_file
from tests.helpers.results import METADATA

CONFIG: dict[str, Any] = {
    "study": "small",
    "datasets": {"fashion": {"images": 12}, "fashion_scenes": {"images": 12}},
    "classification": {"block": 3},
    "generation": {"images": 40, "block": 20},
    "shards": {"blocks": 2, "per_job": 1},
    "strengths": {"merge_ratio": [0.5], "downsample_factor": [2]},
    "cells": [
        {"task": "classification", "backbone": "mini_dit", "dataset": "fashion", "methods": ["none", "bigain_tm"]},
        {"task": "classification", "backbone": "mini_unet", "dataset": "fashion_scenes", "methods": ["bigain_td"]},
        {"task": "generation", "backbone": "mini_unet", "dataset": "fashion", "methods": ["none", "bigain_td"]},
    ],
}


def small_study(root: Path, folder: Path) -> Study:
    """Return the study of a folder, which the process has to be in, after giving it the repository's data."""
    for name in ("config", "resources"):
        (folder / name).symlink_to(root / name)
    (folder / "small.yaml").write_text(yaml.safe_dump(CONFIG))
    return Study(merged_config([folder / "small.yaml"]))


def write_study(study: Study) -> None:
    """Write inputs, chunks, metrics, the collected results, accuracy at single timesteps and measurements."""
    results = Path(study.results)
    for backbone, dataset in dict.fromkeys((cell.backbone, cell.dataset) for cell in study.cells):
        folder = results / "inputs" / backbone / dataset
        for name, spec in (("latents", study.latents_spec), ("conditions", study.conditions_spec)):
            _write_tensors(folder / f"{name}.safetensors", {name: np.ones((12, 4))}, spec(backbone, dataset))
    reference = results / "inputs/reference/fashion.safetensors"
    features = np.random.default_rng(0).random((100, 8))
    statistics = {"mu": features.mean(0), "sigma": np.cov(features, rowvar=False)}
    _write_tensors(reference, {"features": features, **statistics}, study.reference_spec("fashion"))
    for cell in study.cells:
        chunks = [_write_chunk(study, cell, chunk) for chunk in range(len(study.chunks(cell)))]
        spec, output = json.loads(study.score_spec(cell.path)), results / "cells" / cell.path / "metrics.json"
        if cell.task == "classification":
            score_classification(spec, chunks, output)
        else:
            score_generation(spec, reference, chunks, output)
    collect(json.loads(study.collect_spec()), results / "cells", results / "results.parquet")
    for backbone, dataset in study.with_timesteps():
        file = Path(timesteps_file(study, backbone, dataset))
        score_timesteps(json.loads(study.timesteps_spec(backbone, dataset)), results / "cells", file)
    for backbone in study.backbones():
        file = results / "efficiency" / f"{backbone}.csv"
        file.parent.mkdir(exist_ok=True)
        pd.DataFrame({"backbone": [backbone], "method": ["none"], "gflops": [0.125]}).to_csv(file, index=False)
        write_provenance(file, json.loads(study.efficiency_spec(backbone)), {}, **METADATA)


def _write_tensors(file: Path, tensors: dict[str, np.ndarray], spec: str, inputs: Any = None, **facts: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: values.astype(np.float32) for name, values in tensors.items()}, file, {"spec": spec})
    write_provenance(file, json.loads(spec), inputs or {}, **METADATA | facts)


def _write_chunk(study: Study, cell: Cell, chunk: int) -> Path:
    file, spec = Path(study.chunk_files(cell)[chunk]), study.job_spec(cell.path, chunk)
    names = ("latents", "conditions") if cell.task == "classification" else ("conditions",)
    encoded = {
        name: Path(study.results, "inputs", cell.backbone, cell.dataset, f"{name}.safetensors") for name in names
    }
    inputs = {name: as_encoding(path, checked(path)) for name, path in encoded.items()}
    if cell.task == "generation":
        features = numpy_generator(0, cell.path).random((40, 8)) + 1
        _write_tensors(file, {"features": features}, spec, inputs)
    else:
        job = MadeUpJob(study, cell.path, chunk)
        first, last = job.spec["images"]
        write_table(file, job.trials(list(range(first, last))), json.loads(spec))
        write_provenance(file, json.loads(spec), inputs, **METADATA)
    return file


class MadeUpJob(CellJob[pa.Table, pa.Table]):
    """A classification job that makes its trials up; `computed` lists the groups that it had to compute."""

    format = ParquetShards()

    def __init__(self, study: Study, cell: str, chunk: int = 0) -> None:
        backbone: Any = SimpleNamespace(device=torch.device("cpu"))
        super().__init__(json.loads(study.job_spec(cell, chunk)), backbone, {}, {})
        self.path, self.computed = cell, list[list[int]]()
        self.ids = load_dataset(self.spec["dataset"]).ids

    def inputs_digest(self, positions: list[int]) -> str:
        return "0123456789ab"

    def compute(self, positions: list[int], attachment: Any) -> pa.Table:
        self.computed.append(positions)
        return self.trials(positions)

    def finish(self, positions: list[int], computed: pa.Table) -> pa.Table:
        return computed

    def trials(self, positions: list[int]) -> pa.Table:
        """Return made-up trials of the images: ten classes at two timesteps."""
        parts = [self._trials_of(self.ids[position]) for position in positions]
        return pa.concat_tables(parts).combine_chunks()

    def _trials_of(self, image: int) -> pa.Table:
        classes, timesteps = (values.ravel() for values in np.meshgrid(np.arange(10), [250, 750]))
        columns = {"image": np.full(20, image), "class": classes, "t": timesteps, "stage": np.zeros(20, int)}
        columns["error"] = numpy_generator(0, self.path, image).random(20)
        kinds = (pa.int64(), pa.int32(), pa.int32(), pa.int32(), pa.float32())
        arrays = [pa.array(values).cast(kind, safe=False) for values, kind in zip(columns.values(), kinds, strict=True)]
        return pa.Table.from_arrays(arrays, list(columns))

    def shard(self) -> pa.Table:
        """Return the records of the job's first shard, read or computed."""
        first, last = self.spec["images"]
        with OrderedWorker(overlapped=False) as worker:
            future: Future = ShardStore(self, Uncompressed(), worker, began=0.0).shard(list(range(first, last)))
        return future.result().records
