"""Made-up results of the whole paper study, in the files that its jobs would write, provenance included.

None of them is a measurement.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from bigain.core.provenance import write_provenance, write_sealed
from bigain.core.records import write_table
from bigain.core.rng import numpy_generator
from bigain.jobs.collect import collect
from bigain.metrics import accuracy as acc
from bigain.metrics.jackknife import BLOCKS
from bigain.study.cells import Cell
from bigain.study.study import Study


def write_results(study: Study) -> None:
    """Write metrics, efficiency tables, the collected results, sample images of every generation cell, and probes."""
    for cell in study.cells:
        _write_metrics(study, cell)
    results = Path(study.results)
    collect(json.loads(study.collect_spec()), results / "cells", results / "results.parquet")
    for backbone in study.backbones():
        arms = json.loads(study.efficiency_spec(backbone))["arms"]
        _write_efficiency(study, backbone, arms)
    for place in study.probed():
        _write_probes(study, *place)


def _write_metrics(study: Study, cell: Cell) -> None:
    rng = numpy_generator(0, cell.path)
    images, classes = study.images(cell), study.classes(cell.dataset)
    metrics, items, blocks = {}, {}, {}
    if cell.task == "classification":
        easy = np.random.default_rng(7).random(images)  # the same images are hard for every cell
        hits = easy + 0.1 * rng.random(images) < 0.8 - 0.1 * (cell.strength or 0) / 8
        items = {"image": list(range(images)), "acc@1": hits.astype(int).tolist()}
        metrics["acc@1"] = acc.accuracy(hits)
        if cell.dataset == "coco2017":
            items["map"] = items["map_released"] = (hits * 0.5).tolist()
            metrics["map_released"] = acc.Estimate(46.0, 45.0, 47.0, images)
        else:
            items["label"] = (np.arange(images) % classes).tolist()
    else:
        value = 20 + rng.random()
        metrics["fid"] = acc.Estimate(value, value - 0.5, value + 0.5, study.images(cell))
        without = (value + 0.05 * rng.standard_normal(BLOCKS)).tolist()
        drawn = {"n": study.images(cell), "seed": cell.seed, "captions": "-", "reference": "-"}
        blocks = {"blocks": {"images": drawn, "left_out": {"fid": without}}}
    known = {name: vars(estimate) for name, estimate in metrics.items()}
    spec = json.loads(study.score_spec(cell.path))
    scored = {"spec": spec, "inputs": {}, "cell": spec["cell"], "metrics": known, "items": items}
    scored |= {
        "left_out": {},
        "warnings": {},
        "classes": [f"class {k}" for k in range(classes)],
        "seconds": 60.0,
        "compressed": [],
        **blocks,
    }
    scored["environments"] = [{"machine": "-", "cpu": "-", "device": "made up", "threads": 1}]
    path = Path(study.results, "cells", cell.path, "metrics.json")
    write_sealed(path, scored)
    if cell.task == "generation":
        images = rng.integers(0, 255, (4, 3, 16, 16), dtype=np.uint8)
        chunk = path.with_name("chunk-0.safetensors")
        save_file({"images": images}, chunk)
        write_provenance(chunk, json.loads(study.job_spec(cell.path, 0)), {})


def _write_efficiency(study: Study, backbone: str, arms: list) -> None:
    rows = [
        {"backbone": backbone, "method": method, "strength": strength, "gflops": 800 - 10 * (strength or 0)}
        | {"saved_percent": 1.25 * (strength or 0), "self_attention_gflops": 1.0, "planning_gflops": 0.0}
        | {
            "sparsity": 0.1,
            "seconds": 0.1,
            "speedup": 1.0,
            "seconds_vanilla": 0.2,
            "speedup_vanilla": 1.0,
            "batch": 8,
            "device": "made up",
        }
        for method, strength, _ in arms
    ]
    path = Path(study.results, "efficiency", f"{backbone}.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False)
    write_provenance(path, json.loads(study.efficiency_spec(backbone)), {})


def _write_probes(study: Study, backbone: str, dataset: str) -> None:
    rng = numpy_generator(0, backbone, dataset)
    folder = Path(study.results, "probes", backbone, dataset)
    spec = json.loads(study.spectrum_spec(backbone, dataset))
    draws = spec["images"] * spec["timesteps"]
    parts = []
    for method, strength in spec["arms"]:
        columns = {"method": [method] * draws, "strength": np.full(draws, np.nan if strength is None else strength)}
        columns |= {"image": np.repeat(np.arange(spec["images"]), spec["timesteps"]), "true": 0, "wrong": 1, "t": 500}
        parts.append(
            pd.DataFrame(columns | {f"band_{k}": 1 + rng.standard_normal(draws) for k in range(spec["bands"])})
        )
    frame = pd.concat(parts, ignore_index=True)
    write_table(folder / "spectrum.parquet", {name: frame[name].to_numpy() for name in frame}, spec)
    write_provenance(folder / "spectrum.parquet", spec, {})
    spec = json.loads(study.token_maps_spec(backbone, dataset))
    maps = {
        "images": rng.integers(0, 255, (4, 3, 512, 512), dtype=np.uint8),
        "saliency": rng.random((4, 32, 32)),
        "merged": rng.integers(0, 2, (2, 4, 32, 32), dtype=np.uint8),
    }
    save_file(maps, folder / "tokens.safetensors", {"spec": json.dumps(spec)})
    write_provenance(folder / "tokens.safetensors", spec, {})
