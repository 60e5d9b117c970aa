"""Small made-up results of a cell's jobs, and how they are scored."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from bigain.jobs.score import collect, score_classification, score_generation
from tests.helpers.layouts import ITEMS, SCENES, write_fashion

CELL = {"task": "classification", "backbone": "u", "dataset": "d", "method": "tome", "strength": 0.5, "seed": 0}
ENVIRONMENT = {"torch": "2.0", "diffusers": "0.4", "device": "cpu", "machine": "x", "cpu": "AVX2", "threads": 1}
METADATA = {"seconds": 3.0, "compressed": [], "environments": [ENVIRONMENT]}
SCORED = {
    "cell": CELL,
    "metrics": {"acc@1": {"value": 80.0, "low": 70.0, "high": 90.0, "n": 100}},
    "seconds": 3.0,
    "environments": [ENVIRONMENT],
}
CHUNKS = 2


def write_results(folder):
    """Write a data set, trials of its items and scenes, features, their metadata, and a copy of each file."""
    write_fashion(folder)
    rng = np.random.default_rng(0)
    for name, ids in (("fashion", range(100, 100 + ITEMS)), ("fashion_scenes", range(SCENES))):
        for chunk, part in enumerate(np.array_split(list(ids), CHUNKS)):
            rows = [(i, c, t, 0) for i in part.tolist() for t in (100, 500) for c in range(10)]
            rows += [(i, c, 300, 1) for i in part.tolist() for c in (0, 1, 2)]
            columns = dict(zip(("image", "class", "t", "stage"), map(list, zip(*rows, strict=True)), strict=True))
            columns["error"] = rng.random(len(rows), dtype=np.float32)
            pq.write_table(pa.table(columns), folder / f"{name}-{chunk}.parquet")
    features = rng.random((100, 8), dtype=np.float32)
    statistics = {"mu": features.mean(0, dtype=np.float64), "sigma": np.cov(features.astype(np.float64), rowvar=False)}
    save_file({"features": features, **statistics}, folder / "reference.safetensors")
    for chunk in range(CHUNKS):
        save_file({"features": features[chunk::2] + 1}, folder / f"generated-{chunk}.safetensors")
    for path in list(folder.glob("*-*.*")):
        path.with_name(f"{path.name}.json").write_text(json.dumps(METADATA))
    (folder / "metrics.json").write_text(json.dumps(SCORED))
    for path in list(folder.iterdir()):
        shutil.copy(path, folder / f"whole {path.name}")
    return folder


def chunks(folder, name, suffix):
    return [folder / f"{name}-{k}.{suffix}" for k in range(CHUNKS)]


def score(folder, name):
    """Score a cell and return its metrics as they are collected."""
    spec = {"cell": CELL, "network": "fashion-net", "dataset": {"reader": name, "path": str(folder)}}
    if name == "generated":
        files = chunks(folder, name, "safetensors")
        score_generation(spec, folder / "reference.safetensors", files, folder / "out.json")
    else:
        spec["images"] = ITEMS if name == "fashion" else SCENES
        score_classification(spec, chunks(folder, name, "parquet"), folder / "out.json")
    collect([folder / "out.json"], folder / "out.parquet")
    return pd.read_parquet(folder / "out.parquet")


def whole(folder, file):
    """Put back a file that an earlier case changed, and return its content."""
    shutil.copy(folder / f"whole {file}", folder / file)
    return (folder / file).read_bytes()
