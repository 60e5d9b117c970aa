"""Small made-up results of a cell's jobs with their provenance, and how they are scored."""

import hashlib
import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from bigain.core.provenance import SEAL, digest, provenance_file, read_sealed, write_provenance
from bigain.core.records import canonical
from bigain.jobs.collect import collect
from bigain.jobs.score import score_classification
from bigain.jobs.score_generation import score_generation
from tests.helpers.layouts import ITEMS, SCENES, write_fashion

CELL = {"task": "classification", "backbone": "u", "dataset": "d", "method": "tome", "strength": 0.5}
CELL |= {"strength_kind": "merge_ratio", "seed": 0}
ENVIRONMENT = {"torch": "2.0", "diffusers": "0.4", "device": "cpu", "machine": "x", "cpu": "AVX2", "threads": 1}
METADATA = {"seconds": 3.0, "compressed": [], "environments": [ENVIRONMENT]}
SCORED = {
    "spec": {"cell": CELL},
    "cell": CELL,
    "metrics": {"acc@1": {"value": 80.0, "low": 70.0, "high": 90.0, "n": 100}},
    "items": {"image": [3, 5], "predicted": [0, 1], "acc@1": [1, 0]},
    "left_out": {},
    "warnings": {},
    **METADATA,
}
CHUNKS = 2
LATENTS, CONDITIONS, REFERENCE = ({"of": name} for name in ("latents", "conditions", "reference"))


def write_results(folder):
    """Write a data set, trials of its items and scenes, features, their provenance, and a copy of each file."""
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
    write_provenance(folder / "reference.safetensors", REFERENCE, {}, **METADATA)
    for chunk in range(CHUNKS):
        save_file({"features": features[chunk::2] + 1}, folder / f"generated-{chunk}.safetensors")
    for path in list(folder.glob("*-*.*")):
        name, chunk = path.stem.split("-")
        inputs = {
            part: {"spec": digest(spec), "sha256": "-"}
            for part, spec in (("latents", LATENTS), ("conditions", CONDITIONS))
        }
        write_provenance(path, chunk_spec(name, int(chunk)), inputs, **METADATA)
    (folder / "metrics.json").write_text(sealed(SCORED))
    for path in list(folder.iterdir()):
        shutil.copy(path, folder / f"whole {path.name}")
    return folder


def chunk_spec(name, chunk):
    """Return as much of a job's spec as says which result it is of."""
    return {key: value for key, value in CELL.items() if key != "strength_kind"} | {"name": name, "images": [chunk, 9]}


def chunks(folder, name, suffix):
    return [folder / f"{name}-{k}.{suffix}" for k in range(CHUNKS)]


def score_spec(folder, name):
    """Return the spec of a cell's metrics."""
    inputs = {"conditions": digest(CONDITIONS)}
    return {
        "cell": CELL,
        "dataset": {"reader": "fashion" if name == "generated" else name, "path": str(folder)},
        "images": ITEMS if name == "fashion" else SCENES,
        "network": "fashion-net",
        "chunks": [digest(chunk_spec(name, chunk)) for chunk in range(CHUNKS)],
        "inputs": inputs if name == "generated" else inputs | {"latents": digest(LATENTS)},
        "reference": digest(REFERENCE) if name == "generated" else None,
        "code": {},
    }


def score(folder, name):
    """Score a cell and return its metrics as they are collected."""
    spec, output = score_spec(folder, name), folder / "cells" / name / "metrics.json"
    if name == "generated":
        files = chunks(folder, name, "safetensors")
        score_generation(spec, folder / "reference.safetensors", files, output)
    else:
        score_classification(spec, chunks(folder, name, "parquet"), output)
    return collected(folder / "cells", {name: spec})


def collected(cells, specs):
    """Collect the metrics of cells by their folders, and return the results."""
    spec = {"config": "-", "cells": [[path, digest(spec)] for path, spec in specs.items()], "code": {}}
    collect(spec, cells, cells / "results.parquet")
    return pd.read_parquet(cells / "results.parquet")


def sealed(content):
    """Return the text of a JSON file whose seal fits its content, whatever that is."""
    content = json.loads(json.dumps(content))
    return json.dumps({**content, SEAL: hashlib.sha256(canonical(content).encode()).hexdigest()})


def reseal(path):
    """Make the checksum of a changed file fit, as if the change were no damage, so that readers look at its content.

    A file that is not a JSON object has no seal, and stays as it is.
    """
    if path.suffix != ".json":
        facts = read_sealed(provenance_file(path))
        del facts["sha256"]
        write_provenance(path, facts.pop("spec"), facts.pop("inputs"), **facts)
        return
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return
    if isinstance(content, dict):
        content.pop(SEAL, None)
        path.write_text(sealed(content))


def whole(folder, file):
    """Put back a file that an earlier case changed, with its provenance, and return its content."""
    for name in (file, f"{file}.json"):
        if (folder / f"whole {name}").exists():
            shutil.copy(folder / f"whole {name}", folder / name)
    return (folder / file).read_bytes()
