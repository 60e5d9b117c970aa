"""All cells in one table: with where they come from, and without numbers that are none."""

import json

import pandas as pd
import pytest

from bigain.jobs.score import _distinct, collect

HERE = {"torch": "2.15.0", "diffusers": "0.42.1", "device": "cpu", "machine": "x86_64", "cpu": "AVX2", "threads": 1}
CELL = {"backbone": "u", "dataset": "d", "method": "tome", "strength": 0.5, "seed": 0}


def write(folder, value=80.0, environments=(HERE,)):
    estimate = {"value": value, "low": 70.0, "high": 90.0, "n": 100}
    scored = {"cell": CELL, "metrics": {"acc@1": estimate}, "seconds": 3.0, "environments": list(environments)}
    (folder / "metrics.json").write_text(json.dumps(scored))
    return folder / "metrics.json"


def test_every_row_says_its_environment(tmp_path):
    collect([write(tmp_path)], tmp_path / "r.parquet")
    row = pd.read_parquet(tmp_path / "r.parquet").iloc[0]
    assert row["environment"] == "torch 2.15.0, diffusers 0.42.1 on cpu, x86_64 AVX2, threads: 1"
    assert (row["value"], row["strength"]) == (80, 0.5)


def test_jobs_of_one_cell_in_two_environments_are_told_apart(tmp_path):
    other = HERE | {"torch": "3.0.0"}
    assert _distinct([HERE, other, dict(HERE)]) == [HERE, other]
    collect([write(tmp_path, environments=(HERE, other))], tmp_path / "r.parquet")
    said = pd.read_parquet(tmp_path / "r.parquet")["environment"].item()
    assert "torch 2.15.0" in said
    assert "torch 3.0.0" in said


def test_a_number_that_is_none_names_its_file(tmp_path):
    with pytest.raises(ValueError, match=r"metrics\.json: acc@1 is no finite number: .*nan"):
        collect([write(tmp_path, float("nan"))], tmp_path / "r.parquet")
    assert not (tmp_path / "r.parquet").exists()
