"""Specs of small jobs on the embedded models and data."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.methods import strength_for
from tests.helpers.repository import ROOT

FASHION = {
    "id": "fashion",
    "reader": "fashion",
    "path": str(ROOT / "resources/fashion"),
    "data": "-",
    "allow_missing": 0,
}


def backbone_spec(family: str) -> dict:
    """Return the spec of the embedded model of a family."""
    sites = {"levels": None, "blocks": [1, 2] if family == "dit" else None, "metric_site": None}
    model = {"id": f"mini_{family}", "family": family, "path": str(ROOT / f"resources/mini-{family}"), "weights": "-"}
    return model | {"dtype": "float32", "device": "cpu", "compile": "off"} | sites


def classification(family: str, method: str, results: Path, images=(0, 8), shard=4, block=2) -> dict:
    """Return the spec of a classification job of two stages; batches of 7 rows cut across images."""
    protocol = {"stages": [1, 2], "keep": [2, 1], "timesteps": "grid", "loss": "l2", "noise": "keyed", "batch": 7}
    protocol |= {"smaller_batch": None, "elimination": None}
    return {
        "results": str(results),
        "task": "classification",
        "backbone": backbone_spec(family),
        "dataset": FASHION,
        "method": method,
        "strength": strength_for(method),
        "seed": 0,
        "protocol": protocol,
        "block": block,
        "shard": shard,
        "images": list(images),
        "threads": 1,
        "version": 1,
    }
