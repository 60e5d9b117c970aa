"""The tidy results: every row names its environment, and every number is finite."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from bigain.jobs.score import _distinct, collect, score_generation
from bigain.reporting.page import _remarks

ENVIRONMENT = {
    "torch": "2.15.0",
    "diffusers": "0.42.1",
    "device": "cpu",
    "machine": "x86_64",
    "cpu": "AVX2",
    "threads": 1,
}
CELL = {"backbone": "u", "dataset": "d", "method": "tome", "strength": 0.5, "seed": 0}


def write(folder, value=80.0, environments=(ENVIRONMENT,)):
    estimate = {"value": value, "low": 70.0, "high": 90.0, "n": 100}
    scored = {"cell": CELL, "metrics": {"acc@1": estimate}, "seconds": 3.0, "environments": list(environments)}
    (folder / "metrics.json").write_text(json.dumps(scored))
    return folder / "metrics.json"


def test_every_row_names_its_environment(tmp_path):
    collect([write(tmp_path)], tmp_path / "r.parquet")
    row = pd.read_parquet(tmp_path / "r.parquet").iloc[0]
    assert row["environment"] == "torch 2.15.0, diffusers 0.42.1 on cpu, x86_64 AVX2, threads: 1"
    assert (row["value"], row["strength"]) == (80, 0.5)


def test_environments_of_one_cell_are_listed(tmp_path):
    other = ENVIRONMENT | {"torch": "3.0.0"}
    assert _distinct([ENVIRONMENT, other, dict(ENVIRONMENT)]) == [ENVIRONMENT, other]
    collect([write(tmp_path, environments=(ENVIRONMENT, other))], tmp_path / "r.parquet")
    environments = pd.read_parquet(tmp_path / "r.parquet")["environment"].item()
    assert "torch 2.15.0" in environments
    assert "torch 3.0.0" in environments


def test_a_number_that_is_not_finite_names_its_file(tmp_path):
    with pytest.raises(ValueError, match=r"metrics\.json: acc@1 is not finite: .*nan"):
        collect([write(tmp_path, float("nan"))], tmp_path / "r.parquet")
    assert not (tmp_path / "r.parquet").exists()


def score_fid(folder, references, generated):
    """Score a generated cell with Inception features, of 2 dimensions here."""
    rng = np.random.default_rng(0)
    real = rng.normal(size=(references, 2))
    statistics = {"mu": real.mean(0), "sigma": np.cov(real, rowvar=False)}
    save_file({"features": real.astype(np.float32)} | statistics, folder / "reference.safetensors")
    save_file({"features": rng.normal(size=(generated, 2)).astype(np.float32)}, folder / "chunk.safetensors")
    metadata = {"seconds": 1.0, "compressed": [], "environments": [ENVIRONMENT]}
    (folder / "chunk.safetensors.json").write_text(json.dumps(metadata))
    spec = {"cell": CELL, "network": "inception"}
    score_generation(spec, folder / "reference.safetensors", [folder / "chunk.safetensors"], folder / "metrics.json")
    return json.loads((folder / "metrics.json").read_text())


def test_a_fid_against_a_small_reference_is_kept_with_a_warning(tmp_path, capsys):
    scored = score_fid(tmp_path, 1200, 2048)
    reason = "reference of 1200 images; with fewer than 2048 a FID comes out too large"
    assert scored["warnings"] == {"fid": reason}
    assert set(scored["metrics"]) == {"fid", "kid", "precision", "recall"}
    assert f"warnings: fid: {reason}" in capsys.readouterr().out
    assert _remarks([scored, scored], "warnings", "warning") == [("warning", f"fid: {reason} (2 cells)")]


def test_a_fid_of_few_generated_images_is_left_out_and_said_so(tmp_path, capsys):
    scored = score_fid(tmp_path, 2048, 2047)
    assert scored["warnings"] == {}
    assert scored["left_out"] == {"fid": "2047 generated images; at least 2048 are needed"}
    assert "left out: fid: 2047 generated images" in capsys.readouterr().out
