"""The tidy results: every row names its environment, and every number is finite."""

import json

import pandas as pd
import pytest

from bigain.jobs.score import _distinct, collect

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
